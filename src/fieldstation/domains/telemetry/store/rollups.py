"""Which rollups stand in the database and which of them hold.

Rollups hold for the hours before the watermark that are not marked as stale, as far as chunks go: a
flush marks in the transaction that writes chunks, and the watermark moves only over hours that were
marked. Marks and rollups are read by one statement, so they are of one snapshot. Whoever moves the
watermark or takes marks away keeps flushes out meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from fieldstation.domains.telemetry.models import rollup, rollup_stale, tally
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.rollup_blocks import DAY, BlockKey
from fieldstation.domains.telemetry.store.steps import (
    KEEP_FIRST,
    Query,
    Row,
    Steps,
    as_json,
    insert_rows,
)

WATERMARK = "rolled_up_before"
SET = "ON CONFLICT (name) DO UPDATE SET amount = excluded.amount"
REPLACE = (
    "ON CONFLICT (series_id, hours, number)"
    " DO UPDATE SET data = excluded.data, sketches = excluded.sketches"
)
ROLLUP_NAMES = ("series_id", "hours", "number", "data", "sketches")
MARK = -1
"""Stands in place of a width in a row that is a mark."""


@dataclass(frozen=True, slots=True)
class RollupLimits:
    """How much one slice of work computes, how many marks one transaction writes, and how many
    readings of a series in whole days are read for the sake of exact percentiles."""

    marks_per_slice: int = 200
    marks_per_transaction: int = 5_000
    exact_readings_max: int = 20_000


class SeriesHour(NamedTuple):
    series_id: int
    hour: int


class BlockRange(NamedTuple):
    """Blocks of one width, by their numbers."""

    hours: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What one statement found: blocks, their sketches where they were asked for, and marks."""

    blocks: list[tuple[BlockKey, bytes]]
    sketches: dict[BlockKey, bytes]
    stale: set[SeriesHour]


def watermark(dialect: Dialect) -> Steps[int]:
    """Return the hour before which there are rollups. It only ever grows, so that what was read a
    moment ago still holds."""
    rows = yield Query(dialect.finish("SELECT amount FROM tally WHERE name = $1"), (WATERMARK,))
    return int(rows[0][0]) if rows else 0


def mark_stale(dialect: Dialect, hours: Sequence[tuple[int, int]]) -> Steps[None]:
    """Say that chunks of these ``(series_id, hour)`` are written in this transaction."""
    before = yield from watermark(dialect)
    marks = [mark for mark in hours if mark[1] < before]
    if marks:
        yield insert_rows(rollup_stale, ("series_id", "hour"), marks, on_conflict=KEEP_FIRST)


def is_due(dialect: Dialect, before: int) -> Steps[bool]:
    """Tell whether anything is marked or the watermark may move: two searches."""
    rows = yield Query("SELECT series_id FROM rollup_stale LIMIT 1")
    return bool(rows) or (yield from watermark(dialect)) < before


def marks_due(dialect: Dialect, *, limit: int) -> Steps[list[SeriesHour]]:
    """Return the first marks by series and hour: a slice of work."""
    rows = yield Query(
        dialect.finish(
            "SELECT series_id, hour FROM rollup_stale ORDER BY series_id, hour LIMIT $1"
        ),
        (limit,),
    )
    return [SeriesHour(*row) for row in rows]


def replace(dialect: Dialect, rows: Sequence[Row], *, through: SeriesHour) -> Steps[None]:
    """Write blocks and take away the marks up to one; nobody may have marked anything since."""
    if rows:
        yield insert_rows(rollup, ROLLUP_NAMES, rows, on_conflict=REPLACE)
    yield Query(
        dialect.finish("DELETE FROM rollup_stale WHERE (series_id, hour) <= ($1, $2)"), through
    )


def next_watermark(dialect: Dialect, *, before: int) -> Steps[tuple[int, list[SeriesHour]]]:
    """Return how far the watermark may move in one go, at most to the end of a day that has
    readings, and what has to be marked for that: every hour with chunks, and the last hour of a day
    that is complete then, so that its rollup is made even if that hour has none.

    Cost: a search per series, and one per series and hour that holds readings.
    """
    now = yield from watermark(dialect)
    rows = yield Query(_first_text(dialect), (now - now % DAY,))
    first = rows[0][0]
    if first is None or first >= before:
        return max(now, before), []
    day = max(now, first) // DAY
    to = min(before, (day + 1) * DAY)
    rows = yield Query(_hours_text(dialect), (day * DAY, to - 1))
    found = [SeriesHour(*row) for row in rows]
    marks = {mark for mark in found if mark.hour >= now}
    if to % DAY == 0:
        marks |= {SeriesHour(mark.series_id, to - 1) for mark in found}
    return max(now, to), sorted(marks)


def write_marks(marks: Sequence[SeriesHour]) -> Steps[None]:
    yield insert_rows(rollup_stale, ("series_id", "hour"), marks, on_conflict=KEEP_FIRST)


def move_watermark(to: int) -> Steps[None]:
    yield insert_rows(tally, ("name", "amount"), [(WATERMARK, to)], on_conflict=SET)


def stored_blocks(
    dialect: Dialect,
    series_ids: Sequence[int],
    ranges: Sequence[BlockRange],
    *,
    marked: tuple[int, int],
    sketches: bool = False,
) -> Steps[Stored]:
    """Read blocks, and the marks in the hours from the first to the last of ``marked``.

    Cost: one search per series and range, and one for its marks.
    """
    rows = yield Query(
        _blocks_text(dialect, sketches),
        (as_json(list(series_ids)), as_json(list(ranges)), *marked),
    )
    blocks: list[tuple[BlockKey, bytes]] = []
    packed: dict[BlockKey, bytes] = {}
    stale: set[SeriesHour] = set()
    for series_id, hours, number, data, own in rows:
        if hours == MARK:
            stale.add(SeriesHour(series_id, number))
            continue
        key = BlockKey(series_id, hours, number)
        blocks.append((key, data))
        if own:
            packed[key] = own
    return Stored(blocks, packed, stale)


def blocks_of(dialect: Dialect, keys: Sequence[BlockKey]) -> Steps[list[Row]]:
    """Read the rows of these blocks that exist: a search each."""
    found = dialect.seek(
        "rollup", "r", "r.series_id = k.series_id AND r.hours = k.hours AND r.number = k.number"
    )
    wanted = dialect.rows("$1", "k", series_id="bigint", hours="bigint", number="bigint")
    return (
        yield Query(
            dialect.finish(
                f"SELECT r.series_id, r.hours, r.number, r.data, r.sketches FROM {wanted} {found}"
            ),
            (as_json(keys),),
        )
    )


@lru_cache(maxsize=4)
def _blocks_text(dialect: Dialect, sketches: bool) -> str:
    ids = dialect.rows("$1", "k", series_id="bigint")
    ranges = dialect.rows("$2", "w", hours="bigint", first="bigint", last="bigint")
    inside = (
        "r.series_id = k.series_id AND r.hours = w.hours AND r.number BETWEEN w.first AND w.last"
    )
    stale = "s.series_id = k.series_id AND s.hour BETWEEN $3 AND $4"
    return dialect.finish(
        f"SELECT r.series_id, r.hours, r.number, r.data, {'r.sketches' if sketches else 'NULL'}"
        f" FROM {ids} CROSS JOIN {ranges} {dialect.seek('rollup', 'r', inside)}"
        f" UNION ALL SELECT s.series_id, {MARK}, s.hour, NULL, NULL"
        f" FROM {ids} {dialect.seek('rollup_stale', 's', stale)}"
    )


@lru_cache(maxsize=4)
def _first_text(dialect: Dialect) -> str:
    inner = "SELECT MIN(h.hour) FROM series_hour AS h WHERE h.series_id = s.id AND h.hour >= $1"
    return dialect.finish(f"SELECT MIN(({inner})) FROM series AS s")


@lru_cache(maxsize=4)
def _hours_text(dialect: Dialect) -> str:
    hours = "h.series_id = s.id AND h.hour BETWEEN $1 AND $2"
    return dialect.finish(
        f"SELECT h.series_id, h.hour FROM series AS s {dialect.seek('series_hour', 'h', hours)}"
    )
