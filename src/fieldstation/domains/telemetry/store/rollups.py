"""Which rollups stand in the database and which of them hold.

Rollups hold for the hours before the watermark that are not marked, as far as chunks go: a flush
marks every hour in the transaction that writes its chunks, and a mark goes in the transaction that
writes the rollups computed since, while flushes are kept out. Marks and rollups are read by one
statement, so they are of one snapshot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.models import rollup, rollup_stale, tally
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.floors import floors_of
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
MARK, FLOOR = -1, -2
"""Stand in place of a width in a row that is a mark or the floor of a series."""


@dataclass(frozen=True, slots=True)
class RollupLimits:
    """How many days of series one slice of work is about (64 days at a reading a second: some 5.5
    million readings), and how many readings of a series in whole days are read for the sake of
    exact percentiles."""

    days_per_slice: int = 64
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
    """What one statement found: blocks, their sketches where they were asked for, the marks and the
    floors (``floors``) of those series that have one."""

    blocks: list[tuple[BlockKey, bytes]]
    sketches: dict[BlockKey, bytes]
    stale: set[SeriesHour]
    floors: dict[int, int]


def watermark(dialect: Dialect) -> Steps[int]:
    """Return the hour before which there are rollups. It only ever grows, so that what was read a
    moment ago still holds."""
    rows = yield Query(dialect.finish("SELECT amount FROM tally WHERE name = $1"), (WATERMARK,))
    return int(rows[0][0]) if rows else 0


def write_marks(hours: Sequence[tuple[int, int]]) -> Steps[None]:
    """Say that rollups of these ``(series_id, hour)`` are not those of their chunks."""
    yield insert_rows(rollup_stale, ("series_id", "hour"), hours, on_conflict=KEEP_FIRST)


def is_due(dialect: Dialect, before: int) -> Steps[bool]:
    """Tell whether an hour before the watermark is marked, or the watermark may move.

    Cost: looks at the marks of the newest hours, at most three or so a series.
    """
    now = yield from watermark(dialect)
    rows = yield Query(
        dialect.finish("SELECT series_id FROM rollup_stale WHERE hour < $1 LIMIT 1"), (now,)
    )
    return bool(rows) or now < before


def marks_due(dialect: Dialect, before: int, *, days: int) -> Steps[list[SeriesHour]]:
    """Return the first marks by series and hour of those before an hour, in so many days of series:
    a slice of work. Where hours are marked densely that is up to 24 marks a day."""
    rows = yield Query(
        dialect.finish(
            "SELECT series_id, hour FROM rollup_stale WHERE hour < $1"
            " ORDER BY series_id, hour LIMIT $2"
        ),
        (before, DAY * days),
    )
    marks = [SeriesHour(*row) for row in rows]
    ends = sorted(day_ends(marks))[:days]
    return [mark for mark in marks if mark <= ends[-1]]


def replace(
    dialect: Dialect,
    rows: Sequence[Row],
    done: Sequence[SeriesHour],
    before: int,
    floors: Mapping[int, int],
) -> Steps[None]:
    """Write blocks and take away the marks that were due, the first of those before an hour.

    Nobody may have marked anything since they were read. Of a day before the watermark, which was
    computed as a whole, all marks go. The last hour of a day that is not over at
    the watermark is marked, so that its rollup is made once it is, whatever else comes.

    Raises ``Busy``, and nothing is changed, when the marks' series have other floors by now:
    readings may have been missing.
    """
    if floors != (yield from floors_of(dialect, sorted({mark.series_id for mark in done}))):
        raise Busy("Another node deleted readings meanwhile; try again.")
    if rows:
        yield insert_rows(rollup, ROLLUP_NAMES, rows, on_conflict=REPLACE)
    whole = (mark for mark in day_ends(done) if mark.hour < before)
    yield Query(
        dialect.finish(
            "DELETE FROM rollup_stale WHERE (series_id, hour) <= ($1, $2) AND hour < $3"
        ),
        (*max((done[-1], *whole)), before),
    )
    later = sorted(mark for mark in day_ends(done) if mark.hour >= before)
    if later:
        yield from write_marks(later)


def day_ends(marks: Sequence[SeriesHour]) -> set[SeriesHour]:
    """Return the last hours of the marks' days."""
    return {mark._replace(hour=mark.hour - mark.hour % DAY + DAY - 1) for mark in marks}


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
    """Read blocks, the floors, and the marks in the hours from the first to the last of ``marked``.

    Cost: one search per series and range, one for its marks and one for its floor.
    """
    rows = yield Query(
        _blocks_text(dialect, sketches),
        (as_json(list(series_ids)), as_json(list(ranges)), *marked),
    )
    blocks: list[tuple[BlockKey, bytes]] = []
    packed: dict[BlockKey, bytes] = {}
    stale: set[SeriesHour] = set()
    floors: dict[int, int] = {}
    for series_id, hours, number, data, own in rows:
        if hours == MARK:
            stale.add(SeriesHour(series_id, number))
            continue
        if hours == FLOOR:
            floors[series_id] = number
            continue
        key = BlockKey(series_id, hours, number)
        blocks.append((key, data))
        if own:
            packed[key] = own
    return Stored(blocks, packed, stale, floors)


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
    floor = "f.id = k.series_id AND f.raw_from_hour > 0"
    return dialect.finish(
        f"SELECT r.series_id, r.hours, r.number, r.data, {'r.sketches' if sketches else 'NULL'}"
        f" FROM {ids} CROSS JOIN {ranges} {dialect.seek('rollup', 'r', inside)}"
        f" UNION ALL SELECT s.series_id, {MARK}, s.hour, NULL, NULL"
        f" FROM {ids} {dialect.seek('rollup_stale', 's', stale)}"
        f" UNION ALL SELECT f.id, {FLOOR}, f.raw_from_hour, NULL, NULL"
        f" FROM {ids} {dialect.seek('series', 'f', floor)}"
    )
