"""``executemany`` into a prepared SQLite table, one transaction a batch, a process of its own."""

import os
import sqlite3
import time
from array import array
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from bench.cpu_meter import CpuMeter, CpuShares
from bench.processes import be_task

Row = tuple[int, int, int, float, int]
COLUMN_TYPES = "qqqdq"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL")


class RawInsertSpec(msgspec.Struct, frozen=True):
    """Insert the rows of a file in batches; the first ``warm_up`` rows are not measured."""

    database: str
    statement: str
    rows: str
    batch_rows: int
    warm_up: int


class RawInsertResult(msgspec.Struct, frozen=True):
    """Rows given to the database in the measured part, and the time until the last commit."""

    rows: int
    elapsed_s: float
    cpu: CpuShares

    @property
    def per_s(self) -> float:
        return self.rows / self.elapsed_s


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows column by column; return how many there were."""
    columns = [array(code) for code in COLUMN_TYPES]
    for row in rows:
        for column, field in zip(columns, row, strict=True):
            column.append(field)
    with path.open("wb") as file:
        for column in columns:
            column.tofile(file)
    return len(columns[0])


def read_rows(path: Path) -> list[Row]:
    columns = [array(code) for code in COLUMN_TYPES]
    count = path.stat().st_size // sum(column.itemsize for column in columns)
    with path.open("rb") as file:
        for column in columns:
            column.fromfile(file, count)
    return list(zip(*columns, strict=True))


def connect(database: Path) -> sqlite3.Connection:
    """Open a database with the station's durability."""
    connection = sqlite3.connect(database, isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def insert(
    connection: sqlite3.Connection, statement: str, rows: list[Row], *, batch_rows: int
) -> None:
    for start in range(0, len(rows), batch_rows):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statement, rows[start : start + batch_rows])
        connection.execute("COMMIT")


def measure(spec: RawInsertSpec) -> RawInsertResult:
    rows = read_rows(Path(spec.rows))
    with closing(connect(Path(spec.database))) as connection:
        insert(connection, spec.statement, rows[: spec.warm_up], batch_rows=spec.batch_rows)
        measured = rows[spec.warm_up :]
        meter = CpuMeter(os.getpid())
        started = time.perf_counter()
        insert(connection, spec.statement, measured, batch_rows=spec.batch_rows)
        elapsed_s = time.perf_counter() - started
    return RawInsertResult(rows=len(measured), elapsed_s=elapsed_s, cpu=meter.read())


if __name__ == "__main__":
    be_task(measure, RawInsertSpec)
