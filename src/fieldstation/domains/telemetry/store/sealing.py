"""Sealing: merging the chunks of hours that lie back into the sealed chunks of their series.

In slices; each is read, merged and then written in one transaction, so that a reading stands in a
chunk or in a sealed one, never in both or in none. A slice whose rows another node moved meanwhile
is given up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from fieldstation.domains.telemetry.models import sealed as sealed_table
from fieldstation.domains.telemetry.store import sealed
from fieldstation.domains.telemetry.store.compression import READINGS_MAX, compress, cut
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.points import (
    Integers,
    Points,
    in_key_order,
    integers,
    joined,
    runs,
)
from fieldstation.domains.telemetry.store.removal import SealedKey, remove
from fieldstation.domains.telemetry.store.steps import Query, Row, Steps, as_json, insert_rows

SMALL_READINGS = READINGS_MAX // 2
"""A sealed chunk of fewer grows with what comes next to it."""


@dataclass(frozen=True, slots=True)
class SealLimits:
    """When readings are sealed, and how much one slice reads and writes.

    Hours are sealed ``hours_together`` at a time, once the last of them is ``age_hours`` old: a
    series that reports seldom has its newest sealed chunk written anew four times a day. A slice
    holds the flushes up for some 0.2 s; besides the readings that it moves it reads those of the
    sealed chunks that they fall into, at most 4,096 for each.
    """

    age_hours: int = 2
    hours_together: int = 6
    hours_per_slice: int = 96
    series_per_slice: int = 64
    chunks_per_slice: int = 512
    readings_per_slice: int = 100_000

    def before_hour(self, now_us: int) -> int:
        """Return the first hour that stays in chunks."""
        return (now_us // US_PER_HOUR - self.age_hours) // self.hours_together * self.hours_together


@dataclass(frozen=True, slots=True)
class Merge:
    """Readings of one series, and the sealed chunks that they are merged with."""

    points: Points
    replaced: Sequence[SealedKey]


def next_slice(dialect: Dialect, limits: SealLimits, *, before_hour: int) -> Steps[list[Row]]:
    """Return the chunks ``(hour, series_id, start_us, end_us, count)`` to seal next, of the series
    with the oldest ones; none when nothing lies back so far.

    Cost: one search, and an index entry for each chunk of 64 series in 96 hours.
    """
    oldest = yield Query(
        dialect.finish(
            "SELECT hour, series_id FROM chunk WHERE hour < $1 ORDER BY hour, series_id LIMIT $2"
        ),
        (before_hour, limits.series_per_slice),
    )
    if not oldest:
        return []
    first_hour = oldest[0][0]
    end_hour = min(before_hour, first_hour + limits.hours_per_slice)
    ids = sorted({series_id for hour, series_id in oldest if hour < end_hour})
    args = (as_json(ids), first_hour, end_hour - 1, limits.chunks_per_slice)
    rows = yield Query(_listing_text(dialect), args)
    readings = np.cumsum([row[4] for row in rows])
    fitting = int(np.searchsorted(readings, limits.readings_per_slice, side="right"))
    return list(rows[: max(1, fitting)])


@lru_cache(maxsize=4)
def _listing_text(dialect: Dialect) -> str:
    hours = "h.series_id = k.series_id AND h.hour BETWEEN $2 AND $3"
    own = "c.hour = h.hour AND c.series_id = h.series_id"
    return dialect.finish(
        "SELECT c.hour, c.series_id, c.start_us, c.end_us, c.count FROM"
        f" {dialect.rows('$1', 'k', series_id='bigint')}"
        f" {dialect.seek('series_hour', 'h', hours)} {dialect.seek('chunk', 'c', own)}"
        " ORDER BY c.series_id, c.hour, c.start_us LIMIT $4"
    )


def read_slice(dialect: Dialect, listed: Sequence[Row]) -> Steps[tuple[list[Row], list[Row]]]:
    """Read the listed chunks ``(hour, series_id, count, data)``, and the outlines ``(series_id,
    start_us, end_us, count)`` of the sealed ones that they may fall into or continue."""
    rows = yield Query(_chunks_text(dialect), (as_json([tuple(row[:3]) for row in listed]),))
    spans: dict[int, tuple[int, int]] = {}
    for _, series_id, start_us, end_us, _ in listed:
        low, high = spans.get(series_id, (start_us, end_us))
        spans[series_id] = (min(low, start_us), max(high, end_us))
    asked = as_json([(series_id, *span) for series_id, span in spans.items()])
    around = yield Query(_around_text(dialect), (asked,))
    return rows, around


@lru_cache(maxsize=4)
def _chunks_text(dialect: Dialect) -> str:
    keys = dialect.rows("$1", "k", hour="bigint", series_id="bigint", start_us="bigint")
    same = "c.hour = k.hour AND c.series_id = k.series_id AND c.start_us = k.start_us"
    found = dialect.seek("chunk", "c", same)
    return dialect.finish(f"SELECT c.hour, c.series_id, c.count, c.data FROM {keys} {found}")


@lru_cache(maxsize=4)
def _around_text(dialect: Dialect) -> str:
    """Find what reaches into each series' period, the one before it and the one behind it."""
    spans = dialect.rows("$1", "k", series_id="bigint", low="bigint", high="bigint")
    own = "FROM sealed AS m WHERE m.series_id = k.series_id AND m.start_us"
    inside = (
        "s.series_id = k.series_id"
        f" AND s.start_us >= COALESCE((SELECT MAX(m.start_us) {own} <= k.low), k.low)"
        f" AND s.start_us <= COALESCE((SELECT MIN(m.start_us) {own} > k.high), k.high)"
    )
    return dialect.finish(
        f"SELECT s.series_id, s.start_us, s.end_us, s.count FROM {spans}"
        f" {dialect.seek('sealed', 's', inside)} ORDER BY s.series_id, s.start_us"
    )


def plan(points: Points, around: Sequence[Row]) -> list[Merge]:
    """Say which readings (in key order) go into which sealed chunks' place."""
    standing: dict[int, list[Row]] = {}
    for row in around:
        standing.setdefault(row[0], []).append(row)
    merges: list[Merge] = []
    for low, high in pairwise(runs(points.series_id).tolist()):
        own = points.take(slice(low, high))
        known = standing.get(int(own.series_id[0]), [])
        for start, end, first, last in groups(own.ts_us, known):
            keys = [(row[0], row[1]) for row in known[first:last]]
            merges.append(Merge(own.take(slice(start, end)), keys))
    return merges


def groups(ts_us: Integers, standing: Sequence[Row]) -> list[tuple[int, int, int, int]]:
    """Return ``(start, end, first, last)``: new readings ``[start, end)`` of one series, and the
    sealed chunks ``[first, last)`` that they and these readings make anew.

    A chunk that a reading falls into is made anew, and a small one next to new readings.
    """
    # Place 2n is the gap before chunk n, place 2n + 1 the chunk itself.
    begun = np.searchsorted(integers([row[1] for row in standing]), ts_us, side="right")
    ends = integers([-1, *(row[2] for row in standing)])
    places = 2 * begun - (ts_us <= ends[begun])
    bounds = runs(places)
    occupied: list[int] = places[bounds[:-1]].tolist()
    fallen_into = {place // 2 for place in occupied if place % 2}

    def joins(number: int) -> bool:
        is_one = 0 <= number < len(standing)
        return is_one and (number in fallen_into or standing[number][3] < SMALL_READINGS)

    found: list[tuple[int, int, int, int]] = []
    for place, (start, end) in zip(occupied, pairwise(bounds.tolist()), strict=True):
        number = place // 2
        first, last = number, number + 1
        if place % 2 == 0:
            first, last = number - joins(number - 1), number + joins(number)
        if found and first < found[-1][3]:
            earlier = found.pop()
            found.append((earlier[0], end, earlier[2], last))
        else:
            found.append((start, end, first, last))
    return found


def read_replaced(dialect: Dialect, merges: Sequence[Merge]) -> Steps[list[Row]]:
    """Read the sealed chunks that are merged: one search each."""
    keys = [key for merge in merges for key in merge.replaced]
    if not keys:
        return []
    return (yield Query(_replaced_text(dialect), (as_json(keys),)))


@lru_cache(maxsize=4)
def _replaced_text(dialect: Dialect) -> str:
    keys = dialect.rows("$1", "k", series_id="bigint", start_us="bigint")
    same = "s.series_id = k.series_id AND s.start_us = k.start_us"
    return dialect.finish(f"SELECT {sealed.PICKED} FROM {keys} {dialect.seek('sealed', 's', same)}")


def make_rows(merges: Sequence[Merge], replaced: Sequence[Row]) -> list[Row]:
    """Return the rows of ``SEALED_NAMES`` that take the place of chunks and sealed chunks.

    Cost: some 0.1 µs a reading, mostly without the interpreter's lock.
    """
    standing = {(row[0], row[1]): row for row in replaced}
    rows: list[Row] = []
    for merge in merges:
        points = merge.points
        if merge.replaced:
            known = sealed.unpack([standing[key] for key in merge.replaced])
            points = in_key_order(joined([known, points]))
        for piece in cut(points):
            ends = int(piece.ts_us[0]), int(piece.ts_us[-1])
            rows.append((int(piece.series_id[0]), *ends, len(piece), compress(piece)))
    return rows


def write_slice(
    dialect: Dialect, listed: Sequence[Row], merges: Sequence[Merge], rows: Sequence[Row]
) -> Steps[None]:
    """Put the sealed rows in the place of what they were made of.

    Raises ``Busy``, and nothing is changed, when some of that is not there any more.
    """
    chunk_keys = [(row[0], row[1], row[2]) for row in listed]
    sealed_keys = [key for merge in merges for key in merge.replaced]
    yield from remove(dialect, chunk_keys, sealed_keys)
    yield insert_rows(sealed_table, sealed.SEALED_NAMES, rows)
