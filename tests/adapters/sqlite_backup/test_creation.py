"""Backups hold what was acknowledged before them, and are whole or not there."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text

from fieldstation.adapters.sqlite_backup.creation import (
    BackupAbandonedError,
    create_backup,
    write_backup,
)
from fieldstation.adapters.sqlite_backup.manifest import find_unfinished, list_backups
from fieldstation.adapters.sqlite_backup.verification import find_faults
from fieldstation.core.clock import ManualClock, SystemClock
from fieldstation.core.errors import Busy, Conflict, NotFound
from fieldstation.core.settings import DatabaseSettings
from fieldstation.db.engines import create_engines, database_url
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from fieldstation.migrations.revisions import REVISIONS
from tests.adapters.sqlite_backup.stations import (
    NOW,
    StationFiles,
    make_killed_station,
    make_station,
    rows_of,
)
from tests.contracts.readings import NOON_US, Given, append, columns, make_series
from tests.stored_readings import readings_in_sqlite
from tests.wait_until import wait_until

BATCH_READINGS = 500

# No file may grow beyond 50 kB, as on a disk that is full.
SMALL_DISK = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from fieldstation.adapters.sqlite_backup.creation import write_backup
from fieldstation.core.errors import Busy
data, output = map(Path, sys.argv[1:])
sources = {name: data / name for name in ("station.db", "telemetry.db")}
before = getrlimit(RLIMIT_FSIZE)
setrlimit(RLIMIT_FSIZE, (50_000, before[1]))
try:
    write_backup(sources, output=output, now=datetime.now(UTC))
except Busy as error:
    setrlimit(RLIMIT_FSIZE, before)
    print(error.detail)
"""


class Load:
    """Registers a device and sends it a batch of readings, again and again, as a station would."""

    def __init__(self, files: StationFiles, store: SqliteReadingStore) -> None:
        self.acknowledged: list[int] = []
        self.running = True
        self._store = store
        self._engines = create_engines(
            database_url(None, data_dir=files.directory), DatabaseSettings()
        )

    async def run(self) -> None:
        for number in count():
            if not self.running:
                break
            async with self._engines.writer.begin() as connection:
                await connection.execute(
                    text("INSERT INTO job (name, due_at) VALUES (:name, 0)"),
                    {"name": f"device-{number}"},
                )
            (series,) = await make_series(self._store, 1, device_id=f"device-{number}")
            rows = [Given(series.id, NOON_US + at, at) for at in range(BATCH_READINGS)]
            appended = await self._store.append(columns(rows))
            self.acknowledged.append(appended.seq)
        await self._engines.close()


@pytest.fixture
def files(tmp_path: Path) -> StationFiles:
    return make_station(tmp_path / "data", "mark")


@pytest.mark.anyio
async def test_backup_under_load_holds_everything_acknowledged_before_it(
    files: StationFiles, tmp_path: Path
) -> None:
    store = SqliteReadingStore(files.telemetry_db, node_id="node", clock=SystemClock())
    await store.open()
    load = Load(files, store)
    clock = ManualClock(NOW)
    backups: list[tuple[Path, list[int]]] = []
    during = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load.run)
        for wanted in (20, 60, 100):
            await wait_until(lambda wanted=wanted: len(load.acknowledged) >= wanted)
            before = list(load.acknowledged)
            made = await create_backup(
                station_db=files.station_db,
                telemetry_db=files.telemetry_db,
                output=tmp_path / "backups",
                clock=clock,
            )
            during += len(load.acknowledged) - len(before)
            backups.append((Path(made["path"]), before))
            clock.advance(1)
        load.running = False
    await store.close()

    assert during > 0, "the station must go on acknowledging during a backup"
    for path, before in backups:
        assert find_faults(path, known_revisions=REVISIONS) == []
        held = {seq for (seq,) in rows_of(path / "telemetry.db", "SELECT seq FROM intake_batch")}
        assert held >= set(before)
        readings = len(readings_in_sqlite(path / "telemetry.db"))
        assert readings == len(held) * BATCH_READINGS, "no batch may be torn"
        owners = set(rows_of(path / "telemetry.db", "SELECT device_id FROM series"))
        assert owners <= set(rows_of(path / "station.db", "SELECT name FROM job"))
    kept = {seq for (seq,) in rows_of(files.telemetry_db, "SELECT seq FROM intake_batch")}
    assert kept == set(load.acknowledged)
    assert rows_of(files.telemetry_db, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.anyio
async def test_backup_neither_writes_nor_checkpoints_the_source(
    files: StationFiles, tmp_path: Path
) -> None:
    store = SqliteReadingStore(files.telemetry_db, node_id="node", clock=SystemClock())
    await store.open()
    (series,) = await make_series(store, 1)
    await append(store, [Given(series.id, NOON_US)])
    log = files.telemetry_db.with_name("telemetry.db-wal")
    before = [(file.stat().st_size, file.stat().st_mtime_ns) for file in (files.telemetry_db, log)]

    await create_backup(
        station_db=files.station_db,
        telemetry_db=files.telemetry_db,
        output=tmp_path / "backups",
        clock=SystemClock(),
    )

    after = [(file.stat().st_size, file.stat().st_mtime_ns) for file in (files.telemetry_db, log)]
    assert after == before
    assert after[1][0] > 0, "the log must have had something to checkpoint"
    await store.close()


def test_backup_of_a_killed_station_holds_what_is_only_in_its_log(tmp_path: Path) -> None:
    killed = make_killed_station(tmp_path / "data", "in the log")

    backup = killed.back_up(tmp_path / "backups")

    assert StationFiles(backup).mark() == ("in the log", "in the log")


def test_manifest_tells_sizes_schemas_and_rows_and_everything_is_private(
    files: StationFiles, tmp_path: Path
) -> None:
    backup = files.back_up(tmp_path / "backups")

    manifest = json.loads((backup / "manifest.json").read_text())
    assert backup.name == "fieldstation-20261121T120000Z"
    assert manifest["created_at"] == "2026-11-21T12:00:00Z"
    assert set(manifest) == {"format", "station_version", "created_at", "files"}
    telemetry = manifest["files"]["telemetry.db"]
    assert telemetry["size_bytes"] == (backup / "telemetry.db").stat().st_size
    assert telemetry["contents"]["schema_revision"] == REVISIONS[-1]
    assert telemetry["contents"]["rows"]["tally"] == 1
    assert {file.name: file.stat().st_mode & 0o777 for file in backup.iterdir()} == dict.fromkeys(
        ("manifest.json", "station.db", "telemetry.db"), 0o600
    )
    assert backup.stat().st_mode & 0o777 == 0o700


def test_crash_at_any_step_leaves_no_half_backup_that_looks_whole(tmp_path: Path) -> None:
    make_station(tmp_path / "template" / "data", "mark")
    subprocess.run(
        [
            *(sys.executable, "-m", "tests.adapters.sqlite_backup.crashes", "create"),
            *(tmp_path / "template", tmp_path / "cases"),
        ],
        check=True,
        timeout=60,
    )

    cases = sorted((tmp_path / "cases").iterdir())
    whole = [list_backups(case / "backups") for case in cases]
    assert len(cases) > 10
    assert len(whole[-1]) == 1
    assert any(find_unfinished(case / "backups") for case in cases)
    for backups in whole:
        for found in backups:
            assert not isinstance(found, Exception)
            assert find_faults(found.folder, known_revisions=REVISIONS) == []
    assert all(StationFiles(case / "data").mark() == ("mark", "mark") for case in cases), (
        "the source must not be touched"
    )


def test_disk_that_fills_up_is_said_and_leaves_nothing(files: StationFiles, tmp_path: Path) -> None:
    output = tmp_path / "backups"
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, files.directory, output],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.startswith(f"The backup could not be made in {output}")
    assert list(output.iterdir()) == []


def test_backup_that_would_fill_the_disk_is_not_begun(files: StationFiles, tmp_path: Path) -> None:
    # A hole takes no room here, but it would in the backup.
    os.truncate(files.telemetry_db, shutil.disk_usage(tmp_path).free + (1 << 30))

    with pytest.raises(Busy, match=r"free some space or choose another --output") as refused:
        files.back_up(tmp_path / "backups")

    assert refused.value.code == "disk_full"
    assert list((tmp_path / "backups").iterdir()) == []


def test_cancelled_backup_leaves_nothing(files: StationFiles, tmp_path: Path) -> None:
    async def give_up_at_once() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await create_backup(
                station_db=files.station_db,
                telemetry_db=files.telemetry_db,
                output=tmp_path / "backups",
                clock=SystemClock(),
            )

    # The end of the loop waits for its threads.
    asyncio.run(give_up_at_once())

    assert list_backups(tmp_path / "backups") == []
    assert find_unfinished(tmp_path / "backups") == []


def test_abandoned_backup_stops_in_the_middle(files: StationFiles, tmp_path: Path) -> None:
    with pytest.raises(BackupAbandonedError):
        write_backup(files.sources, output=tmp_path / "backups", now=NOW, is_abandoned=lambda: True)

    assert list((tmp_path / "backups").iterdir()) == []


def test_second_backup_of_the_same_second_is_refused_and_the_first_stays(
    files: StationFiles, tmp_path: Path
) -> None:
    backup = files.back_up(tmp_path / "backups")

    with pytest.raises(Conflict, match="try again in a second"):
        files.back_up(tmp_path / "backups")

    assert list((tmp_path / "backups").iterdir()) == [backup]


def test_backup_without_a_station_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"station\.db does not exist"):
        StationFiles(tmp_path).back_up(tmp_path / "backups")


def test_backup_into_a_file_is_refused(files: StationFiles, tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("in the way")

    with pytest.raises(Busy, match="choose another --output"):
        files.back_up(tmp_path / "backups")
