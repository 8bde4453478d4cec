"""Turning log entries into chunks, in slices, so that the intake goes on between them.

Exactly once, whatever happens: the end of the flush is written down before its first chunk, and the
same entries always make the same chunks. Who finds a flush that did not reach its end makes it
again; chunks that stand already stay as they are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from fieldstation.domains.telemetry.models import chunk, reading_detail, series_hour, tally
from fieldstation.domains.telemetry.ports import FLAG_DETAIL
from fieldstation.domains.telemetry.store import chunks, rollups
from fieldstation.domains.telemetry.store.deletion import count_deleted
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.entries import decode_points
from fieldstation.domains.telemetry.store.points import Points, in_key_order, integers, joined, runs
from fieldstation.domains.telemetry.store.steps import (
    KEEP_FIRST,
    Query,
    Row,
    Steps,
    as_json,
    insert_rows,
)

DETAIL_NAMES = ("hour", "series_id", "ts", "value", "flags", "text", "metadata", "score")
KEY = itemgetter(0, 1, 2)
FLUSHED = "flushed_through"
FLUSHING = "flushing_through"
SET = "ON CONFLICT (name) DO UPDATE SET amount = excluded.amount"


@dataclass(frozen=True, slots=True)
class FlushLimits:
    """When a flush is due, and how much one of its transactions writes.

    An append that meets ``recent_readings_max`` (some 60 MB in memory) flushes first.
    """

    readings: int = 500_000
    interval_us: int = 600 * 1_000_000
    recent_readings_max: int = 2_000_000
    chunks_per_slice: int = 512
    details_per_slice: int = 2_048


@dataclass(frozen=True, slots=True)
class Progress:
    """Up to which log entry everything is in chunks, and how far a flush that began wants to go."""

    flushed: int
    flushing: int


def progress(dialect: Dialect) -> Steps[Progress]:
    """Read both numbers: two searches."""
    rows = yield Query(
        dialect.finish("SELECT name, amount FROM tally WHERE name IN ($1, $2)"), (FLUSHED, FLUSHING)
    )
    amounts = {name: int(amount) for name, amount in rows}
    flushed = amounts.get(FLUSHED, 0)
    return Progress(flushed, max(flushed, amounts.get(FLUSHING, 0)))


def entries_between(dialect: Dialect, after_id: int, through_id: int) -> Steps[list[Points]]:
    """Read the readings of a range of log entries."""
    rows = yield Query(
        dialect.finish("SELECT readings FROM intake_batch WHERE id > $1 AND id <= $2 ORDER BY id"),
        (after_id, through_id),
    )
    return [decode_points(packed) for (packed,) in rows]


def living(dialect: Dialect, series_ids: Sequence[int]) -> Steps[set[int]]:
    """Return which of the series exist: entries of deleted ones make no chunks."""
    found = dialect.seek("series", "s", "s.id = k.series_id")
    rows = yield Query(
        dialect.finish(f"SELECT s.id FROM {dialect.rows('$1', 'k', series_id='bigint')} {found}"),
        (as_json(list(series_ids)),),
    )
    return {series_id for (series_id,) in rows}


def begin(through_id: int) -> Steps[None]:
    """Write down where the flush ends."""
    yield insert_rows(tally, ("name", "amount"), [(FLUSHING, through_id)], on_conflict=SET)


def end(dialect: Dialect, through_id: int, *, dropped: int) -> Steps[None]:
    """Say that everything up to an entry is in chunks, but for what belonged to deleted series."""
    done = yield from progress(dialect)
    if done.flushed < through_id:
        yield from count_deleted(dropped)
        yield insert_rows(tally, ("name", "amount"), [(FLUSHED, through_id)], on_conflict=SET)


def write_chunks(rows: Sequence[Row]) -> Steps[None]:
    """Insert one slice of chunks; all of them are new or exactly what stands already.

    Rollups of their hours are stale from the same commit on.
    """
    hours = sorted({(row[1], row[0]) for row in rows})
    yield insert_rows(series_hour, ("series_id", "hour"), hours, on_conflict=KEEP_FIRST)
    yield insert_rows(chunk, chunks.CHUNK_NAMES, rows, on_conflict=KEEP_FIRST)
    yield from rollups.write_marks(hours)


def write_details(rows: Sequence[Row]) -> Steps[None]:
    """Insert one slice of details."""
    yield insert_rows(reading_detail, DETAIL_NAMES, rows, on_conflict=KEEP_FIRST)


def sort(pieces: Sequence[Points]) -> tuple[Points, list[int]]:
    """Return everything in key order, and the series it belongs to."""
    points = in_key_order(joined(pieces))
    return points, points.series_id[runs(points.series_id)[:-1]].tolist()


def make_rows(points: Points, alive: Collection[int]) -> tuple[list[Row], list[Row], int]:
    """Return the rows of chunks and of details, each in the order of its table's key, and how many
    readings belonged to deleted series.
    """
    own = np.isin(points.series_id, integers(sorted(alive)))
    dropped = len(points) - int(own.sum())
    if dropped:
        points = points.take(own)
    packed: list[Row] = [*chunks.pack(points)] if len(points) else []
    return sorted(packed, key=KEY), detail_rows(points), dropped


def detail_rows(points: Points) -> list[Row]:
    points = points.take((points.flags & FLAG_DETAIL) != 0)
    columns = (points.series_id, points.ts_us, points.value, points.flags)
    rows: list[Row] = []
    for series_id, ts_us, value, flags in zip(*(c.tolist() for c in columns), strict=True):
        d = points.details[series_id, ts_us]
        key = (ts_us // US_PER_HOUR, series_id, ts_us)
        rows.append((*key, value, flags, d.text, d.metadata, d.score))
    return sorted(rows, key=KEY)
