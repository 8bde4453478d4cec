"""Restoring puts both files back or leaves the station as it was, and deletes nothing."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import DatabaseError

from fieldstation.adapters.sqlite_backup.durable_files import sha256_of
from fieldstation.adapters.sqlite_backup.restoration import NOTICE, is_notice, restore_backup
from fieldstation.core.errors import Busy, Conflict
from fieldstation.db.engines import database_url
from fieldstation.migrations.chain import run_upgrade
from fieldstation.migrations.upgrade import run_on_sqlite
from tests.adapters.sqlite_backup.stations import (
    NOW,
    StationFiles,
    make_killed_station,
    make_station,
)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return make_station(tmp_path / "backed-up", "new").back_up(tmp_path / "backups")


def restore(
    backup: Path, files: StationFiles, *, force: bool = False, later_s: int = 0
) -> list[Path]:
    return restore_backup(
        backup,
        station_db=files.station_db,
        telemetry_db=files.telemetry_db,
        node_file=files.directory / "node_id",
        now=NOW + timedelta(seconds=later_s),
        force=force,
    )


def digests(*folders: Path) -> dict[str, str]:
    """Return ``{digest: name}`` of every file directly in the folders."""
    return {
        sha256_of(file): file.name
        for folder in folders
        for file in folder.iterdir()
        if file.is_file()
    }


def test_backup_becomes_a_station_where_there_was_none(backup: Path, tmp_path: Path) -> None:
    files = StationFiles(tmp_path / "empty")

    assert restore(backup, files) == []
    assert files.mark() == ("new", "new")
    assert files.station_db.stat().st_mode & 0o777 == 0o600


def test_existing_station_is_refused_and_untouched(backup: Path, tmp_path: Path) -> None:
    files = make_station(tmp_path / "data", "old")
    before = digests(files.directory)

    with pytest.raises(Conflict, match="With --force its files are moved aside, not deleted"):
        restore(backup, files)

    assert digests(files.directory) == before


def test_force_moves_the_old_files_aside_with_their_logs(backup: Path, tmp_path: Path) -> None:
    files = make_killed_station(tmp_path / "data", "old")
    (files.directory / "node_id").write_text("node-a")
    (files.directory / "secret_key").write_text("stays")

    (replaced,) = restore(backup, files, force=True)

    assert files.mark() == ("new", "new")
    assert replaced == files.directory / "replaced-20261121T120000Z"
    assert StationFiles(replaced).mark() == ("old", "old")
    assert (replaced / "node_id").read_text() == "node-a"
    assert not (files.directory / "node_id").exists()
    assert (files.directory / "secret_key").read_text() == "stays"


def test_files_in_two_directories_move_aside_in_each(backup: Path, tmp_path: Path) -> None:
    station = make_station(tmp_path / "one", "old")
    telemetry = make_station(tmp_path / "two", "old")

    folders = restore_backup(
        backup,
        station_db=station.station_db,
        telemetry_db=telemetry.telemetry_db,
        node_file=station.directory / "node_id",
        now=NOW,
        force=True,
    )

    assert [folder.parent for folder in folders] == [station.directory, telemetry.directory]
    assert (station.mark(), telemetry.mark()) == (("new", "old"), ("old", "new"))


def test_backup_that_changed_after_verification_is_refused(backup: Path, tmp_path: Path) -> None:
    files = make_station(tmp_path / "data", "old")
    (backup / "telemetry.db").write_bytes(b"something else")

    with pytest.raises(Conflict, match=r"telemetry\.db of the backup changed"):
        restore(backup, files, force=True)

    assert files.mark() == ("old", "old")
    assert sorted(files.directory.glob("*.restoring")) == []


def test_directory_in_the_way_is_said_and_the_station_stays(backup: Path, tmp_path: Path) -> None:
    files = make_station(tmp_path / "data", "old")
    (files.directory / "replaced-20261121T120000Z").mkdir()

    with pytest.raises(Busy, match="nothing was deleted"):
        restore(backup, files, force=True)

    assert files.mark() == ("old", "old")


def test_crash_at_any_step_leaves_the_old_or_the_new_station_or_a_notice(
    backup: Path, tmp_path: Path
) -> None:
    template = tmp_path / "template"
    old = digests(make_killed_station(template / "data", "old").directory)
    (template / "backups").mkdir()
    backup.rename(template / "backups" / backup.name)
    subprocess.run(
        [
            *(sys.executable, "-m", "tests.adapters.sqlite_backup.crashes", "restore"),
            *(template, tmp_path / "cases"),
        ],
        check=True,
        timeout=60,
    )

    seen: set[str | None] = set()
    for case in sorted((tmp_path / "cases").iterdir()):
        files = StationFiles(case / "data")
        kept = digests(files.directory, *files.directory.glob("replaced-*"))
        missing = {name for digest, name in old.items() if digest not in kept}
        assert missing <= {"station.db-shm", "telemetry.db-shm"}, f"{case.name} lost a file"
        assert files.station_db.exists(), f"{case.name} would start as an empty station"
        station, telemetry = files.mark()
        assert is_notice(files.station_db) if station is None else telemetry == station
        seen.add(station)

        restore(template / "backups" / backup.name, files, force=True, later_s=60)
        assert files.mark() == ("new", "new")
    assert seen == {"old", None, "new"}


def test_no_station_starts_on_the_notice(tmp_path: Path) -> None:
    files = make_station(tmp_path / "data", "old")
    files.station_db.write_bytes(NOTICE)

    url = database_url(None, data_dir=files.directory)
    with pytest.raises((Busy, DatabaseError), match="not a database"):
        run_on_sqlite(url, lambda connection: run_upgrade(connection, "station"))

    assert is_notice(files.station_db)
