"""Which way of writing rows is fastest on PostgreSQL: COPY, a staging table, unnest or VALUES.

Run as ``python -m bench.postgresql_ways [rounds]``. Every way writes the rows that the station
writes (entries of the intake log, chunks of a flush, marks of their hours, new series), each
transaction as the station makes it, into a copy of the station's own table. Ways take turns within
a round and change their order from round to round. The server is the one of P3.
"""

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, count
from pathlib import Path

import asyncpg
import numpy as np
import uvloop
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql as sqlalchemy_postgresql

from bench.data import SEED
from bench.postgresql import missing_postgresql, own_database, url_of
from bench.spread import percentile
from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.models import chunk, intake_batch, series, series_hour
from fieldstation.domains.telemetry.store import chunks
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR
from fieldstation.domains.telemetry.store.entries import encode_entry
from fieldstation.domains.telemetry.store.points import Points
from fieldstation.domains.telemetry.store.postgresql_connections import ALONE, SESSION, TOGETHER
from fieldstation.domains.telemetry.store.recording import LOG_NAMES
from fieldstation.domains.telemetry.store.series import SERIES_NAMES
from fieldstation.domains.telemetry.store.steps import KEEP_FIRST, Row
from fieldstation.migrations.upgrade import upgrade

ROUNDS = 200
WARM_UP_ROUNDS = 10
SINCE_HOUR = 480_000
CHUNKS = 512
"""What one transaction of a flush writes."""


@dataclass(frozen=True, slots=True)
class Case:
    """Rows for one table; ``rows`` makes those of a round, whose keys no other round has.

    ``may_stand``: rows with the same key are passed over, which COPY cannot do.
    """

    title: str
    table: Table
    names: tuple[str, ...]
    rows: Callable[[int], Sequence[Row]]
    may_stand: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """The table that one way of one case writes to."""

    name: str
    case: Case
    conflict: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "conflict", KEEP_FIRST if self.case.may_stand else "")

    @property
    def into(self) -> str:
        return f"INSERT INTO {self.name} ({', '.join(self.case.names)})"

    @property
    def staging(self) -> str:
        return f"staging_{self.name}"


Way = Callable[[asyncpg.Connection, Target, Sequence[Row]], Awaitable[None]]


async def by_copy(connection: asyncpg.Connection, target: Target, rows: Sequence[Row]) -> None:
    await connection.copy_records_to_table(target.name, records=rows, columns=target.case.names)


async def by_staging(connection: asyncpg.Connection, target: Target, rows: Sequence[Row]) -> None:
    """COPY into a temporary table that each commit empties, and from there."""
    names = target.case.names
    await connection.copy_records_to_table(target.staging, records=rows, columns=names)
    picked = f"SELECT {', '.join(names)} FROM {target.staging}"  # noqa: S608 - names of ours
    await connection.fetch(f"{target.into} {picked} {target.conflict}")


async def by_unnest(connection: asyncpg.Connection, target: Target, rows: Sequence[Row]) -> None:
    await connection.execute(unnest_text(target), *zip(*rows, strict=True))


async def by_values(connection: asyncpg.Connection, target: Target, rows: Sequence[Row]) -> None:
    await connection.execute(values_text(target, len(rows)), *chain.from_iterable(rows))


async def by_pipeline(connection: asyncpg.Connection, target: Target, rows: Sequence[Row]) -> None:
    """One row a statement, sent without waiting for the answers in between."""
    await connection.executemany(values_text(target, 1), rows)


WAYS: dict[str, Way] = {
    "COPY": by_copy,
    "staging": by_staging,
    "unnest": by_unnest,
    "VALUES": by_values,
    "pipeline": by_pipeline,
}


@lru_cache(maxsize=64)
def unnest_text(target: Target) -> str:
    dialect = sqlalchemy_postgresql.dialect()
    columns = [target.case.table.c[name] for name in target.case.names]
    kinds = [column.type.compile(dialect=dialect).split("(")[0] for column in columns]
    arrays = ", ".join(f"${at}::{kind}[]" for at, kind in enumerate(kinds, start=1))
    return f"{target.into} SELECT * FROM unnest({arrays}) {target.conflict}"  # noqa: S608


@lru_cache(maxsize=64)
def values_text(target: Target, rows: int) -> str:
    numbers = count(1)
    row = [", ".join(f"${next(numbers)}" for _ in target.case.names) for _ in range(rows)]
    return f"{target.into} VALUES {', '.join(f'({marks})' for marks in row)} {target.conflict}"


def points(readings: int, *, series_count: int, start_us: int) -> Points:
    """Return readings in key order, a second apart, with values to one decimal."""
    random = np.random.default_rng(SEED)
    each = readings // series_count
    return Points(
        np.repeat(np.arange(1, series_count + 1, dtype=np.int64), each),
        np.tile(start_us + np.arange(each, dtype=np.int64) * 1_000_000, series_count),
        np.round(20 + random.normal(0, 3, each * series_count), 1),
        np.zeros(each * series_count, np.int64),
    )


def entries(readings: int) -> Callable[[int], Sequence[Row]]:
    packed = encode_entry(
        points(readings, series_count=min(readings, 10), start_us=SINCE_HOUR * US_PER_HOUR)
    )
    return lambda at: [(at + 1, "node", at + 1, SINCE_HOUR * US_PER_HOUR, readings * at, packed)]


def flushed(readings_each: int) -> Callable[[int], Sequence[Row]]:
    def rows(at: int) -> Sequence[Row]:
        start_us = (SINCE_HOUR + at) * US_PER_HOUR
        return chunks.pack(points(CHUNKS * readings_each, series_count=CHUNKS, start_us=start_us))

    return rows


def hours(at: int) -> Sequence[Row]:
    return [(number, SINCE_HOUR + at) for number in range(1, CHUNKS + 1)]


def created(number: int) -> Callable[[int], Sequence[Row]]:
    return lambda at: [
        ("org", f"device-{at:05}-{n // 10:04}", "temperature", f"sensor-{n % 10}", SINCE_HOUR)
        for n in range(number)
    ]


CASES = (
    *(
        Case(f"log entry, {n:,} readings", intake_batch, LOG_NAMES, entries(n), may_stand=False)
        for n in (1, 1_000, 8_000)
    ),
    *(
        Case(f"{CHUNKS} chunks of {n:,} readings", chunk, chunks.CHUNK_NAMES, flushed(n))
        for n in (50, 1_000)
    ),
    Case(f"{CHUNKS} hours of series", series_hour, ("series_id", "hour"), hours),
    *(Case(f"{n:,} new series", series, SERIES_NAMES, created(n)) for n in (10, 1_000)),
)


@dataclass(slots=True)
class Times:
    """What each transaction took: until it was durable, and of this process's processor."""

    elapsed_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


async def measure(
    connection: asyncpg.Connection, case: Case, number: int, rounds: int
) -> dict[str, Times]:
    """Run every way that can write these rows, in turns."""
    ways = {name: way for name, way in WAYS.items() if name != "COPY" or not case.may_stand}
    targets = {name: Target(f"{name.lower()}_{number}", case) for name in ways}
    for target in targets.values():
        await connection.execute(
            f"CREATE TABLE {target.name} (LIKE {case.table.name} INCLUDING ALL);"
            f" CREATE TEMPORARY TABLE {target.staging}"
            f" (LIKE {case.table.name} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
        )
    times = {name: Times() for name in ways}
    order = list(ways)
    written = 0
    for at in range(WARM_UP_ROUNDS + rounds):
        rows = case.rows(at)
        written += len(rows)
        order.append(order.pop(0))
        for name in order:
            began = time.perf_counter(), time.process_time()
            await write(connection, ways[name], targets[name], rows)
            ended = time.perf_counter(), time.process_time()
            if at >= WARM_UP_ROUNDS:
                times[name].elapsed_ms.append(1_000 * (ended[0] - began[0]))
                times[name].cpu_ms.append(1_000 * (ended[1] - began[1]))
    for target in targets.values():
        found = await connection.fetchval(f"SELECT count(*) FROM {target.name}")  # noqa: S608
        if found != written:
            raise SystemExit(f"{written} rows were written, {target.name} has {found}")
    return times


async def write(
    connection: asyncpg.Connection, way: Way, target: Target, rows: Sequence[Row]
) -> None:
    """Write in a transaction that begins as the station's do."""
    lock = TOGETHER if target.case.may_stand else ALONE
    await connection.execute(f"BEGIN; SELECT {lock}")
    await way(connection, target, rows)
    await connection.execute("COMMIT")


async def show(database: str, rounds: int) -> None:
    """Measure every case in one session and print it."""
    await upgrade(database_url(url_of(database), data_dir=Path()), "telemetry")
    print(f"{rounds} rounds; a transaction's median, and where eight of ten of them lie\n")
    print(f"{'rows':<26}{'way':<10}{'ms':>22}{'processor ms':>22}")
    connection = await asyncpg.connect(url_of(database), server_settings=SESSION)
    try:
        for number, case in enumerate(CASES):
            for name, times in (await measure(connection, case, number, rounds)).items():
                print(
                    f"{case.title:<26}{name:<10}"
                    f"{described(times.elapsed_ms):>22}{described(times.cpu_ms):>22}"
                )
    finally:
        await connection.close()


def described(figures: Sequence[float]) -> str:
    ordered = sorted(figures)
    low, middle, high = (percentile(ordered, share) for share in (0.1, 0.5, 0.9))
    return f"{middle:.2f} ({low:.2f} – {high:.2f})"


if __name__ == "__main__":
    if reason := missing_postgresql():
        raise SystemExit(reason)
    with own_database() as own:
        uvloop.run(show(own, int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
