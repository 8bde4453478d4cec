"""Verification finds every way in which a backup can be wrong."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fieldstation.adapters.sqlite_backup.manifest import Backup, list_backups
from fieldstation.adapters.sqlite_backup.verification import find_faults
from fieldstation.core.errors import Malformed
from fieldstation.migrations.revisions import REVISIONS
from tests.adapters.sqlite_backup.stations import forge_digest, make_station


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return make_station(tmp_path / "data", "mark").back_up(tmp_path / "backups")


def faults_of(backup: Path) -> list[str]:
    return find_faults(backup, known_revisions=REVISIONS)


def flip_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute(statement)


def test_fresh_backup_has_no_fault_and_verification_leaves_no_trace(backup: Path) -> None:
    before = sorted(file.name for file in backup.iterdir())

    assert faults_of(backup) == []
    assert sorted(file.name for file in backup.iterdir()) == before


@pytest.mark.parametrize("name", ["station.db", "telemetry.db"])
def test_one_changed_byte_is_found(backup: Path, name: str) -> None:
    # The last bytes of a file of whole pages: most likely nothing that SQLite would notice.
    flip_byte(backup / name, (backup / name).stat().st_size - 1)

    assert faults_of(backup)[0].startswith(f"{name} was changed after the backup")


def test_shortened_file_is_found(backup: Path) -> None:
    content = (backup / "station.db").read_bytes()
    (backup / "station.db").write_bytes(content[:-4096])

    assert f"station.db has {len(content) - 4096} bytes" in faults_of(backup)[0]


def test_missing_file_is_found(backup: Path) -> None:
    (backup / "telemetry.db").unlink()

    assert faults_of(backup) == ["telemetry.db cannot be read (No such file or directory)."]


def test_damage_that_the_digest_agrees_with_is_found(backup: Path) -> None:
    path = backup / "telemetry.db"
    flip_byte(path, 4096)
    forge_digest(backup, "telemetry.db")

    (fault, *_) = faults_of(backup)
    assert fault.startswith(("telemetry.db is damaged", "telemetry.db cannot be used"))


def test_file_that_is_no_database_is_found(backup: Path) -> None:
    (backup / "station.db").write_bytes(b"no database" * 1000)
    forge_digest(backup, "station.db")

    assert faults_of(backup) == [
        "station.db cannot be used as a database (file is not a database)."
    ]


def test_row_without_its_parent_is_found(backup: Path) -> None:
    change(
        backup / "station.db",
        "CREATE TABLE part (whole TEXT REFERENCES organization (id))",
    )
    change(backup / "station.db", "INSERT INTO part VALUES ('nobody')")
    forge_digest(backup, "station.db")

    faults = faults_of(backup)
    assert faults == [
        "station.db: row 1 of part refers to a row of organization that does not exist.",
        "station.db: part has 1 rows, the manifest says 0.",
    ]


def test_other_number_of_rows_is_found(backup: Path) -> None:
    change(backup / "telemetry.db", "DELETE FROM tally")
    forge_digest(backup, "telemetry.db")

    assert faults_of(backup) == ["telemetry.db: tally has 0 rows, the manifest says 1."]


def test_schema_of_a_newer_version_is_found(backup: Path) -> None:
    faults = find_faults(backup, known_revisions=["20250101_older"])

    assert len(faults) == 2
    assert all("install the version of Fieldstation that made the backup" in f for f in faults)


def test_schema_other_than_the_manifest_says_is_found(backup: Path) -> None:
    change(backup / "station.db", "UPDATE schema_version_station SET version_num = 'other'")
    forge_digest(backup, "station.db")

    assert f"station.db has schema other, the manifest says {REVISIONS[-1]}." in faults_of(backup)


def drop(manifest: Path) -> None:
    manifest.unlink()


def garble(manifest: Path) -> None:
    manifest.write_bytes(b"{\xff")


def lose_a_file(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace("station.db", "other.db"))


def change_format(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (drop, "is no backup"),
        (garble, "is damaged"),
        (lose_a_file, "must describe station.db and telemetry.db"),
        (change_format, "has format 2, and this version reads format 1"),
    ],
)
def test_unusable_manifest_is_one_fault_and_listed_as_damaged(
    backup: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(backup / "manifest.json")

    (fault,) = faults_of(backup)
    assert sentence in fault
    (listed,) = list_backups(backup.parent)
    assert isinstance(listed, Malformed)
    assert listed.detail == fault


def test_list_is_newest_first_and_knows_no_other_folders(backup: Path) -> None:
    newer = backup.with_name("fieldstation-20271121T120000Z")
    newer.mkdir()
    for file in backup.iterdir():
        (newer / file.name).write_bytes(file.read_bytes())
    (backup.parent / "something else").mkdir()

    found = list_backups(backup.parent)

    assert [entry.folder for entry in found if isinstance(entry, Backup)] == [newer, backup]


def test_list_of_a_directory_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert list_backups(tmp_path / "nowhere") == []
