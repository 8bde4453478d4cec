"""Chunks: up to 8,192 readings of one series within one hour, as packed columns in a row.

The bytes are one byte for the form, one for the width of the flags (0: all are equal, stored once
as four bytes), then the columns: instants in microseconds since the hour began (4 bytes each),
values (8 bytes each) and flags, little-endian. That makes 12 bytes a reading, or 13.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import numpy as np

from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.points import Integers, Points, integers, joined, runs
from fieldstation.domains.telemetry.store.steps import Query, Row, Steps, as_json

FORM = 1
READINGS_MAX = 8_192
HEAD_BYTES = 2
FLAG_BYTES = 4
CHUNK_NAMES = ("hour", "series_id", "start_us", "end_us", "count", "data")
FLAG_TYPES = {1: "<u1", 2: "<u2", 4: "<u4"}
# Up to here each series' hours are searched one by one; more series read whole hours.
SEEK_SERIES_MAX = 200


def pack(points: Points) -> list[tuple[int, int, int, int, int, bytes]]:
    """Cut readings in key order into rows of ``CHUNK_NAMES``."""
    hours = points.ts_us // US_PER_HOUR
    bounds = split(runs(points.series_id, hours))
    starts, ends = bounds[:-1], bounds[1:]
    offsets = (points.ts_us - hours * US_PER_HOUR).astype("<u4").tobytes()
    values = points.value.astype("<f8", copy=False).tobytes()
    flags = points.flags.astype("<u4")
    lowest, highest = np.minimum.reduceat(flags, starts), np.maximum.reduceat(flags, starts)
    columns = zip(
        starts.tolist(),
        ends.tolist(),
        hours[starts].tolist(),
        points.series_id[starts].tolist(),
        points.ts_us[starts].tolist(),
        points.ts_us[ends - 1].tolist(),
        lowest.tolist(),
        highest.tolist(),
        strict=True,
    )
    rows = []
    for start, end, hour, series_id, start_us, end_us, low, high in columns:
        if low == high:
            head, tail = bytes((FORM, 0)), low.to_bytes(FLAG_BYTES, "little")
        else:
            width = next(width for width in FLAG_TYPES if high < 1 << 8 * width)
            head, tail = bytes((FORM, width)), flags[start:end].astype(FLAG_TYPES[width]).tobytes()
        data = b"".join((head, offsets[4 * start : 4 * end], values[8 * start : 8 * end], tail))
        rows.append((hour, series_id, start_us, end_us, end - start, data))
    return rows


def split(bounds: "np.ndarray") -> "np.ndarray":
    """Cut runs longer than a chunk may be."""
    if (np.diff(bounds) <= READINGS_MAX).all():
        return bounds
    edges = [
        edge
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        for edge in range(start, end, READINGS_MAX)
    ]
    return np.array([*edges, bounds[-1]], np.intp)


def unpack(rows: Iterable[Row]) -> Points:
    """Return the readings of rows ``(hour, series_id, count, data)``, one row behind the other."""
    ids: list[int] = []
    hours: list[int] = []
    counts: list[int] = []
    offsets: list[bytes] = []
    values: list[bytes] = []
    flags: list[Integers] = []
    for hour, series_id, count, data in rows:
        form, width = data[0], data[1]
        if form != FORM:
            raise ValueError(f"chunk of the unknown form {form}")
        middle = HEAD_BYTES + 4 * count
        end = middle + 8 * count
        ids.append(series_id)
        hours.append(hour)
        counts.append(count)
        offsets.append(data[HEAD_BYTES:middle])
        values.append(data[middle:end])
        if width:
            flags.append(np.frombuffer(data, FLAG_TYPES[width], count, end).astype(np.int64))
        else:
            same = int.from_bytes(data[end : end + FLAG_BYTES], "little")
            flags.append(np.full(count, same, np.int64))
    since = np.frombuffer(b"".join(offsets), "<u4").astype(np.int64)
    return Points(
        np.repeat(integers(ids), counts),
        since + np.repeat(integers(hours) * US_PER_HOUR, counts),
        np.frombuffer(b"".join(values), "<f8"),
        np.concatenate([np.empty(0, np.int64), *flags]),
    )


def read(
    dialect: Dialect, series_ids: Collection[int], *, start_us: int, end_us: int
) -> Steps[Points]:
    """Read the chunks that reach into a period, with their readings outside of it.

    Cost: up to 200 series one search per series and hour that holds any; more series read every row
    of the hours, whosever they are.
    """
    if start_us >= end_us:
        return joined([])
    hours = (start_us // US_PER_HOUR, (end_us - 1) // US_PER_HOUR)
    rows = yield Query(
        _between_text(dialect, len(series_ids) <= SEEK_SERIES_MAX),
        (as_json(list(series_ids)), *hours, start_us, end_us),
    )
    return unpack(rows)


def covering(dialect: Dialect, keys: Sequence[tuple[int, int]]) -> Steps[Points]:
    """Read the chunks in which these keys would stand: one search a key."""
    found = dialect.seek(
        "chunk",
        "c",
        f"c.hour = {dialect.hour_of('k.ts')} AND c.series_id = k.series_id"
        " AND c.start_us <= k.ts AND c.end_us >= k.ts",
    )
    rows = yield Query(
        dialect.finish(
            "SELECT c.hour, c.series_id, c.count, c.data, c.start_us FROM "
            + dialect.rows("$1", "k", series_id="bigint", ts="bigint")
            + f" {found}"
        ),
        (as_json(keys),),
    )
    distinct = {(row[0], row[1], row[4]): (row[0], row[1], row[2], row[3]) for row in rows}
    return unpack(distinct.values())


@lru_cache(maxsize=4)
def _between_text(dialect: Dialect, seek: bool) -> str:
    ids = dialect.rows("$1", "k", series_id="bigint")
    inside = "c.end_us >= $4 AND c.start_us < $5"
    if seek:
        hours = "h.series_id = k.series_id AND h.hour BETWEEN $2 AND $3"
        own = f"c.hour = h.hour AND c.series_id = h.series_id AND {inside}"
        source = (
            f"{ids} {dialect.seek('series_hour', 'h', hours)} {dialect.seek('chunk', 'c', own)}"
        )
    else:
        source = (
            f"chunk AS c WHERE c.hour BETWEEN $2 AND $3 AND {inside}"
            f" AND c.series_id IN (SELECT k.series_id FROM {ids})"
        )
    return dialect.finish(f"SELECT c.hour, c.series_id, c.count, c.data FROM {source}")
