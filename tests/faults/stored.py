"""What really is in the database of a station that has stopped, past all of our own code."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg

from tests.faults.oracle import Key

FILES = ("station.db", "telemetry.db")
ROWS = (
    "SELECT s.device_id, s.sensor_id, r.ts, r.value FROM reading AS r"
    " JOIN series AS s ON s.id = r.series_id"
)
DISTINCT = (
    "SELECT count(*) FROM (SELECT DISTINCT s.organization_id, s.device_id, s.sensor_type,"
    " s.sensor_id, r.ts FROM reading AS r JOIN series AS s ON s.id = r.series_id) AS found"
)
READINGS = "SELECT count(*) FROM reading"
LOGGED = "SELECT coalesce(max(accepted_total), 0) FROM intake_batch"


def rows_of_sqlite(data_dir: Path) -> list[tuple[Key, float]]:
    """Return the readings of a stopped station.

    Fails when a file is damaged, a key stands twice, or the intake log counted differently.
    """
    check_integrity(data_dir)
    with closing(sqlite3.connect(data_dir / "telemetry.db")) as connection:
        rows = connection.execute(ROWS).fetchall()
        counts = [connection.execute(sql).fetchone()[0] for sql in (DISTINCT, READINGS, LOGGED)]
    assert len(set(counts)) == 1, f"distinct keys, readings, readings of the intake log: {counts}"
    return [(Key(*row[:3]), row[3]) for row in rows]


async def rows_of_postgresql(url: str) -> list[tuple[Key, float]]:
    """Return the readings in the database of one node.

    Fails when a key stands twice, or the intake log counted differently.
    """
    connection = await asyncpg.connect(url, timeout=5)
    try:
        rows = await connection.fetch(ROWS)
        counts = [await connection.fetchval(sql) for sql in (DISTINCT, READINGS, LOGGED)]
    finally:
        await connection.close()
    assert len(set(counts)) == 1, f"distinct keys, readings, readings of the intake log: {counts}"
    return [(Key(*row[:3]), row[3]) for row in rows]


def check_integrity(data_dir: Path) -> None:
    """Have SQLite check both files of a station that does not run."""
    for name in FILES:
        with closing(sqlite3.connect(data_dir / name)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], name


def copy_files(data_dir: Path, target: Path) -> Path:
    """Copy the database files as a fault left them, so that looking at them changes nothing."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in FILES:
        for file in data_dir.glob(f"{name}*"):
            if not file.name.endswith("-shm"):
                shutil.copyfile(file, target / file.name)
    return target
