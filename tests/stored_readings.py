"""The readings that really are in a telemetry database, past the store: its chunks, sealed or not,
and the log entries that are not in chunks yet."""

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec
from pcodec.standalone import simple_decompress

US_PER_HOUR = 3_600_000_000
FLUSHED = "(SELECT COALESCE(MAX(amount), 0) FROM tally WHERE name = 'flushed_through')"
FLUSHING = "(SELECT COALESCE(MAX(amount), 0) FROM tally WHERE name = 'flushing_through')"
# A flush that did not reach its end is made again at the next start: its chunks do not count.
CHUNKS = "SELECT hour, series_id, count, data FROM chunk"
SEALED = "SELECT series_id, start_us, end_us, count, data FROM sealed"
WAITING = f"SELECT readings FROM intake_batch WHERE id > {FLUSHED} ORDER BY id"  # noqa: S608
UNFINISHED = f"SELECT {FLUSHING} > {FLUSHED}"
SERIES = "SELECT id, organization_id, device_id, sensor_type, sensor_id FROM series"


class Stored(NamedTuple):
    """One reading."""

    series_id: int
    ts_us: int
    value: float


def readings_in_sqlite(path: Path) -> list[Stored]:
    """Return every reading of an SQLite file, one as often as it is there."""
    with closing(sqlite3.connect(path)) as connection:
        chunks, sealed, waiting, ((unfinished,),) = (
            connection.execute(sql).fetchall() for sql in (CHUNKS, SEALED, WAITING, UNFINISHED)
        )
    found = list(decode(chunks, waiting, unfinished=bool(unfinished)))
    return found + [reading for row in sealed for reading in decode_sealed(*row)]


async def readings_in_postgresql(connection: "asyncpg.Connection") -> list[Stored]:
    """Return every reading of a PostgreSQL database, one as often as it is there."""
    chunks, waiting = await connection.fetch(CHUNKS), await connection.fetch(WAITING)
    sealed, unfinished = await connection.fetch(SEALED), await connection.fetchval(UNFINISHED)
    found = list(decode(chunks, waiting, unfinished=bool(unfinished)))
    return found + [reading for row in sealed for reading in decode_sealed(*row)]


def decode(
    chunks: Iterable[Sequence[Any]], waiting: Iterable[Sequence[Any]], *, unfinished: bool
) -> Iterator[Stored]:
    logged = [reading for (packed,) in waiting for reading in decode_entry(packed)]
    again = set(logged) if unfinished else set()
    for hour, series_id, count, data in chunks:
        offsets = struct.unpack_from(f"<{count}I", data, 2)
        values = struct.unpack_from(f"<{count}d", data, 2 + 4 * count)
        for offset, value in zip(offsets, values, strict=True):
            stored = Stored(series_id, hour * US_PER_HOUR + offset, value)
            if stored not in again:
                yield stored
    yield from logged


def decode_entry(packed: bytes) -> Iterator[Stored]:
    _, codes, columns, _ = msgspec.msgpack.decode(packed)
    ids, times, values = (
        struct.unpack(f"<{len(column) // struct.calcsize(code)}{code}", column)
        for code, column in zip(codes[:3], columns[:3], strict=True)
    )
    return map(Stored, ids, times, values)


def decode_sealed(
    series_id: int, start_us: int, end_us: int, count: int, data: bytes
) -> list[Stored]:
    form, unit_us, instants, decimals, values, (places, odd), _ = msgspec.msgpack.decode(data)
    assert form == 1
    span, gaps = (end_us - start_us) // unit_us, max(1, count - 1)
    off = numbers(instants)
    times = [start_us + unit_us * (at * span // gaps + off[at]) for at in range(count)]
    found = numbers(values)
    if decimals is not None:
        found = [number / 10**decimals for number in found]
        for at, value in zip(
            struct.unpack(f"<{len(places) // 2}H", places),
            struct.unpack(f"<{len(odd) // 8}d", odd),
            strict=True,
        ):
            found[at] = value
    return [Stored(series_id, *pair) for pair in zip(times, found, strict=True)]


def numbers(packed: bytes) -> list[Any]:
    found = simple_decompress(packed)
    assert found is not None
    return found.tolist()
