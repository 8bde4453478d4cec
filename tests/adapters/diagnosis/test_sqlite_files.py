"""Checks of SQLite files find damage and old schemas, and write nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fieldstation.adapters.diagnosis.report import Verdict
from fieldstation.adapters.diagnosis.sqlite_files import (
    check_durability,
    check_file,
    check_schema,
    judge_durability,
)
from fieldstation.adapters.sqlite_backup.restoration import NOTICE
from fieldstation.migrations.revisions import REVISIONS
from tests.adapters.sqlite_backup.stations import (
    StationFiles,
    make_killed_station,
    make_station,
)


@pytest.fixture
def files(tmp_path: Path) -> StationFiles:
    return make_station(tmp_path / "data", "mark")


def test_sound_files_are_fine_and_untouched_beside_a_writer(files: StationFiles) -> None:
    with closing(sqlite3.connect(files.telemetry_db, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO tally (name, amount) VALUES ('more', 1)")
        before = files.telemetry_db.stat().st_mtime_ns

        assert check_file(files.telemetry_db).verdict is Verdict.OK
        assert check_schema(files.telemetry_db, "telemetry", REVISIONS).verdict is Verdict.OK

        assert files.telemetry_db.stat().st_mtime_ns == before
        writer.execute("COMMIT")


def test_files_of_a_killed_station_are_fine_and_not_checkpointed(tmp_path: Path) -> None:
    killed = make_killed_station(tmp_path / "data", "in the log")
    before = killed.telemetry_db.stat().st_mtime_ns

    assert check_file(killed.telemetry_db).verdict is Verdict.OK

    assert killed.telemetry_db.stat().st_mtime_ns == before
    assert killed.mark() == ("in the log", "in the log")


def test_files_that_do_not_exist_yet_are_fine_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "station.db"

    assert check_file(path).verdict is Verdict.OK
    assert check_schema(path, "station", REVISIONS).verdict is Verdict.OK
    assert not path.exists()


def test_damaged_page_is_a_failure(files: StationFiles) -> None:
    content = bytearray(files.telemetry_db.read_bytes())
    content[8192:12288] = b"\x5a" * 4096
    files.telemetry_db.write_bytes(content)

    found = check_file(files.telemetry_db)

    assert found.verdict is Verdict.FAILURE
    assert "damaged" in found.detail
    assert "backup restore" in str(found.advice)


def test_file_that_is_no_database_is_a_failure(files: StationFiles) -> None:
    files.station_db.write_bytes(b"no database" * 1000)

    assert check_file(files.station_db).verdict is Verdict.FAILURE
    assert check_schema(files.station_db, "station", REVISIONS).verdict is Verdict.FAILURE


def test_directory_in_place_of_a_file_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "station.db").mkdir()

    assert check_file(tmp_path / "station.db").verdict is Verdict.FAILURE


def test_interrupted_restore_is_named(files: StationFiles) -> None:
    files.station_db.write_bytes(NOTICE)

    found = check_file(files.station_db)

    assert found.verdict is Verdict.FAILURE
    assert found.detail == "A restore was interrupted"


def test_file_without_a_log_is_a_warning(files: StationFiles) -> None:
    with closing(sqlite3.connect(files.station_db, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")

    assert check_file(files.station_db).verdict is Verdict.WARNING


def test_file_too_large_to_check_in_time_is_a_warning(files: StationFiles) -> None:
    with closing(sqlite3.connect(files.telemetry_db, isolation_level=None)) as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
            " INSERT INTO tally SELECT 'name' || i, i FROM n"
        )

    found = check_file(files.telemetry_db, timeout_s=-1)

    assert found.verdict is Verdict.WARNING
    assert "backup create" in str(found.advice)


@pytest.mark.parametrize(
    ("statement", "verdict", "words"),
    [
        ("DELETE FROM schema_version_station", Verdict.WARNING, "missing: 20261122_first_schema, "),
        ("DROP TABLE schema_version_station", Verdict.WARNING, "No table"),
        (
            "UPDATE schema_version_station SET version_num = '20991231_later'",
            Verdict.FAILURE,
            "20991231_later is not known",
        ),
    ],
)
def test_schema_that_is_old_or_unknown_is_told(
    files: StationFiles, statement: str, verdict: Verdict, words: str
) -> None:
    with closing(sqlite3.connect(files.station_db, isolation_level=None)) as connection:
        connection.execute(statement)

    found = check_schema(files.station_db, "station", REVISIONS)

    assert found.verdict is verdict
    assert words in found.detail


def test_only_what_comes_after_the_revision_is_missing(files: StationFiles) -> None:
    found = check_schema(files.station_db, "station", [*REVISIONS, "20270101_next"])

    assert found.verdict is Verdict.WARNING
    assert found.detail.endswith("missing: 20270101_next")
    assert "fieldstation migrate" in str(found.advice)


def test_station_opens_files_durably_here_and_leaves_no_scratch(tmp_path: Path) -> None:
    found = check_durability(tmp_path)

    assert found.verdict is Verdict.OK
    assert found.detail == "journal_mode=WAL, synchronous=FULL"
    assert list(tmp_path.iterdir()) == []


def test_place_where_no_database_can_be_made_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert check_durability(tmp_path / "file").verdict is Verdict.FAILURE


@pytest.mark.parametrize("found", [("delete", 2), ("wal", 1)])
def test_anything_but_wal_and_full_is_a_failure(found: tuple[str, int]) -> None:
    assert judge_durability([("wal", 2), found]).verdict is Verdict.FAILURE
