"""Which way of writing rows is fastest on PostgreSQL: COPY, a staging table, unnest or VALUES.

Run as ``python -m bench.postgresql_ways [rounds]``. Every way writes the rows that the station
writes (entries of the intake log, chunks of a flush, sealed ones, series) into a copy of the
station's own table. Below that: how the packed columns are stored, and in how many turns to the
server and back an entry is committed. Ways take turns within a round and change their order from
round to round. The server is the one of P3.
"""

import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from bench.raw_copy import entry
from bench.spread import percentile
from bench.workload import side_by_side
from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.models import chunk, intake_batch, sealed, series, series_hour
from fieldstation.domains.telemetry.store import chunks
from fieldstation.domains.telemetry.store.compression import READINGS_MAX, compress
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR
from fieldstation.domains.telemetry.store.points import Points
from fieldstation.domains.telemetry.store.postgresql_commits import CHANNEL, ENTER, committing
from fieldstation.domains.telemetry.store.postgresql_connections import ALONE, SESSION, TOGETHER
from fieldstation.domains.telemetry.store.recording import LOG_NAMES
from fieldstation.domains.telemetry.store.sealed import SEALED_NAMES
from fieldstation.domains.telemetry.store.series import SERIES_NAMES
from fieldstation.domains.telemetry.store.steps import KEEP_FIRST, Row
from fieldstation.migrations.upgrade import upgrade

ROUNDS = 100
WARM_UP_ROUNDS = 5
SINCE_HOUR = 480_000
NODE = "node"
CHUNKS = 512
"""What one transaction of a flush writes."""
SEALED = 24
"""What one transaction of the sealing job writes: 100,000 readings."""


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

    @property
    def conflict(self) -> str:
        return KEEP_FIRST if self.case.may_stand else ""

    @property
    def into(self) -> str:
        return f"INSERT INTO {self.name} ({', '.join(self.case.names)})"

    @property
    def staging(self) -> str:
        return f"staging_{self.name}"


Way = Callable[[asyncpg.Connection, Target, Sequence[Row]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Variant:
    """A way, whether it needs a transaction around it, and what is altered of its table."""

    way: Way
    is_within: bool = True
    alteration: str = ""


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


WAYS = {
    "COPY": Variant(by_copy),
    "staging": Variant(by_staging),
    "unnest": Variant(by_unnest),
    "VALUES": Variant(by_values),
    "pipeline": Variant(by_pipeline),
}


async def in_five_turns(
    connection: asyncpg.Connection, target: Target, rows: Sequence[Row]
) -> None:
    """Lock, look, COPY (two turns), commit."""
    await lock_and_look(connection, target, rows)
    await by_copy(connection, target, rows)
    await connection.execute(committing(NODE))


async def in_four_turns(
    connection: asyncpg.Connection, target: Target, rows: Sequence[Row]
) -> None:
    """Lock, look, INSERT, commit."""
    await lock_and_look(connection, target, rows)
    await by_values(connection, target, rows)
    await connection.execute(committing(NODE))


async def lock_and_look(
    connection: asyncpg.Connection, target: Target, rows: Sequence[Row]
) -> None:
    await connection.execute(f"BEGIN; SELECT {ALONE}")
    newer = f"SELECT id, readings FROM {target.name} WHERE id >= $1 ORDER BY id LIMIT 64"  # noqa: S608
    await connection.fetch(newer, rows[0][0])


async def in_one_turn(connection: asyncpg.Connection, target: Target, rows: Sequence[Row]) -> None:
    """What a node does that is alone."""
    await connection.fetch(ENTER.replace(intake_batch.name, target.name), *rows[0], CHANNEL)


TURNS = {
    "5 turns": Variant(in_five_turns, is_within=False),
    "4 turns": Variant(in_four_turns, is_within=False),
    "1 turn": Variant(in_one_turn, is_within=False),
}


def storing(way: Way, column: str) -> dict[str, Variant]:
    alter = f"ALTER COLUMN {column} SET"
    return {
        "pglz": Variant(way, alteration=f"{alter} STORAGE EXTENDED, {alter} COMPRESSION pglz"),
        "lz4": Variant(way, alteration=f"{alter} STORAGE EXTENDED, {alter} COMPRESSION lz4"),
        "as it is": Variant(way, alteration=f"{alter} STORAGE EXTERNAL"),
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


def entries(readings: int) -> Callable[[int], Sequence[Row]]:
    """An entry of what devices send, a thousand readings each."""
    devices = -(-readings // 1_000)
    sent = side_by_side(base_s=SINCE_HOUR * 3_600, devices=devices, sizes=[readings // devices])
    packed = entry(list(sent.rows()))
    return lambda at: [(at + 1, NODE, at + 1, SINCE_HOUR * US_PER_HOUR, readings * at, packed)]


def points(readings: int, *, series_count: int, hour: int) -> Points:
    """Readings in key order, a second apart, with values to one decimal."""
    random = np.random.default_rng(SEED)
    each = readings // series_count
    since_us = hour * US_PER_HOUR
    return Points(
        np.repeat(np.arange(1, series_count + 1, dtype=np.int64), each),
        np.tile(since_us + np.arange(each, dtype=np.int64) * 1_000_000, series_count),
        np.round(20 + random.normal(0, 3, each * series_count), 1),
        np.zeros(each * series_count, np.int64),
    )


def flushed(readings_each: int) -> Callable[[int], Sequence[Row]]:
    return lambda at: chunks.pack(
        points(CHUNKS * readings_each, series_count=CHUNKS, hour=SINCE_HOUR + at)
    )


def compressed() -> Callable[[int], Sequence[Row]]:
    data = compress(points(READINGS_MAX, series_count=1, hour=SINCE_HOUR))
    return lambda at: [(number, at, at, READINGS_MAX, data) for number in range(SEALED)]


def hours(at: int) -> Sequence[Row]:
    return [(number, SINCE_HOUR + at) for number in range(1, CHUNKS + 1)]


def created(number: int) -> Callable[[int], Sequence[Row]]:
    return lambda at: [
        ("org", f"device-{at:05}-{n // 10:04}", "temperature", f"sensor-{n % 10}", SINCE_HOUR)
        for n in range(number)
    ]


ENTRIES = [
    Case(f"entry of {n:,} readings", intake_batch, LOG_NAMES, entries(n), may_stand=False)
    for n in (1, 1_000, 8_000)
]
FLUSHED = [
    Case(f"{CHUNKS} chunks of {n:,}", chunk, chunks.CHUNK_NAMES, flushed(n)) for n in (50, 1_000)
]
OTHERS = [
    Case(f"{SEALED} sealed chunks", sealed, SEALED_NAMES, compressed(), may_stand=False),
    Case(f"{CHUNKS} hours of series", series_hour, ("series_id", "hour"), hours),
    *(Case(f"{n:,} new series", series, SERIES_NAMES, created(n)) for n in (10, 1_000)),
]


@dataclass(slots=True)
class Measured:
    """What each transaction took: until it was durable, of this process's processor, and on disk.

    Indexes count.
    """

    elapsed_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    bytes_each: int = 0


async def measure(
    connection: asyncpg.Connection,
    case: Case,
    variants: Mapping[str, Variant],
    *,
    prefix: str,
    rounds: int,
) -> dict[str, Measured]:
    """Run every variant that can write these rows, in turns."""
    chosen = {
        name: variant
        for name, variant in variants.items()
        if variant.way is not by_copy or not case.may_stand
    }
    targets = {name: Target(f"{prefix}_{at}", case) for at, name in enumerate(chosen)}
    for name, target in targets.items():
        await make_table(connection, target, chosen[name].alteration)
    measured = {name: Measured() for name in chosen}
    order = list(chosen)
    written = 0
    for at in range(WARM_UP_ROUNDS + rounds):
        rows = case.rows(at)
        written += len(rows)
        order.append(order.pop(0))
        for name in order:
            began = time.perf_counter(), time.process_time()
            await write(connection, chosen[name], targets[name], rows)
            ended = time.perf_counter(), time.process_time()
            if at >= WARM_UP_ROUNDS:
                measured[name].elapsed_ms.append(1_000 * (ended[0] - began[0]))
                measured[name].cpu_ms.append(1_000 * (ended[1] - began[1]))
    for name, target in targets.items():
        looked = f"SELECT count(*), pg_total_relation_size('{target.name}') FROM {target.name}"  # noqa: S608
        ((found, size),) = await connection.fetch(looked)
        if found != written:
            raise SystemExit(f"{written} rows were written, {target.name} has {found}")
        measured[name].bytes_each = size // (WARM_UP_ROUNDS + rounds)
        await connection.execute(f"DROP TABLE {target.name}, {target.staging}")
    return measured


async def make_table(connection: asyncpg.Connection, target: Target, alteration: str) -> None:
    original = target.case.table.name
    await connection.execute(
        f"CREATE TABLE {target.name} (LIKE {original} INCLUDING ALL);"
        f" CREATE TEMPORARY TABLE {target.staging}"
        f" (LIKE {original} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION)"
        " ON COMMIT DELETE ROWS"
    )
    if alteration:
        await connection.execute(f"ALTER TABLE {target.name} {alteration}")


async def write(
    connection: asyncpg.Connection, variant: Variant, target: Target, rows: Sequence[Row]
) -> None:
    """Write in a transaction that begins as the station's do."""
    if not variant.is_within:
        await variant.way(connection, target, rows)
        return
    await connection.execute(f"BEGIN; SELECT {TOGETHER if target.case.may_stand else ALONE}")
    await variant.way(connection, target, rows)
    await connection.execute("COMMIT")


async def show(database: str, rounds: int) -> None:
    """Measure everything in one session and print it."""
    await upgrade(database_url(url_of(database), data_dir=Path()), "telemetry")
    print(f"{rounds} rounds; a transaction's median, and where eight of ten of them lie\n")
    print(f"{'rows':<25}{'way':<10}{'ms':>22}{'processor ms':>20}{'bytes':>12}")
    plan: list[tuple[Case, Mapping[str, Variant]]] = [
        *((case, WAYS) for case in (*ENTRIES, *FLUSHED, *OTHERS)),
        *((case, storing(by_values, "readings")) for case in ENTRIES),
        *((case, storing(by_unnest, "data")) for case in FLUSHED),
        *((case, TURNS) for case in ENTRIES),
    ]
    connection = await asyncpg.connect(url_of(database), server_settings=SESSION)
    try:
        for at, (case, variants) in enumerate(plan):
            found = await measure(connection, case, variants, prefix=f"t{at}", rounds=rounds)
            for name, measured in found.items():
                print(
                    f"{case.title:<25}{name:<10}{described(measured.elapsed_ms):>22}"
                    f"{described(measured.cpu_ms):>20}{measured.bytes_each:>12,}"
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
