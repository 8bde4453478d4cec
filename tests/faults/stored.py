"""What really is in the database of a station that has stopped, past all of our own code."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

from tests.faults.oracle import Key
from tests.services import on_mariadb
from tests.stored_readings import (
    SERIES,
    Stored,
    readings_in_mariadb,
    readings_in_postgresql,
    readings_in_sqlite,
)

FILES = ("station.db", "telemetry.db")
LOGGED = "SELECT coalesce(max(accepted_total), 0) FROM intake_batch"


def rows_of_sqlite(data_dir: Path) -> list[tuple[Key, float]]:
    """Return the readings of a stopped station.

    Fails when a file is damaged, a key stands twice, or the intake log counted differently.
    """
    check_integrity(data_dir)
    file = data_dir / "telemetry.db"
    with closing(sqlite3.connect(file)) as connection:
        series = connection.execute(SERIES).fetchall()
        logged = connection.execute(LOGGED).fetchone()[0]
    return checked(series, readings_in_sqlite(file), logged)


async def rows_of(url: str) -> list[tuple[Key, float]]:
    """Return the readings in the database of one node on a server."""
    is_mariadb = url.startswith("mysql")
    return await (rows_of_mariadb(url) if is_mariadb else rows_of_postgresql(url))


async def rows_of_postgresql(url: str) -> list[tuple[Key, float]]:
    """Return the readings in the database of one node.

    Fails when a key stands twice, or the intake log counted differently.
    """
    connection = await asyncpg.connect(url, timeout=5)
    try:
        series = await connection.fetch(SERIES)
        readings = await readings_in_postgresql(connection)
        logged = await connection.fetchval(LOGGED)
    finally:
        await connection.close()
    return checked(series, readings, logged)


async def rows_of_mariadb(url: str) -> list[tuple[Key, float]]:
    """Do the same in a MariaDB database."""
    name = url.rpartition("/")[2]
    series = await on_mariadb(SERIES, database=name)
    ((logged,),) = await on_mariadb(LOGGED, database=name)
    return checked(series, await readings_in_mariadb(name), int(logged))


async def logged_in_postgresql(url: str) -> int:
    """Return how many readings the intake log counted, even while a station writes."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(LOGGED)
    finally:
        await connection.close()


def checked(
    series: Sequence[Sequence[Any]], readings: Sequence[Stored], logged: int
) -> list[tuple[Key, float]]:
    identities = {row[0]: tuple(row)[1:] for row in series}
    assert len(set(identities.values())) == len(identities), "a series stands twice"
    distinct = len({(reading.series_id, reading.ts_us) for reading in readings})
    counts = [distinct, len(readings), logged]
    assert len(set(counts)) == 1, f"distinct keys, readings, readings of the intake log: {counts}"
    return [
        (Key(identities[r.series_id][1], identities[r.series_id][3], r.ts_us), r.value)
        for r in readings
    ]


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
