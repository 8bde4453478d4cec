"""Pages of readings: windows of time, growing until the page is full."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fieldstation.domains.telemetry.ports import (
    FLAG_ANOMALY,
    FLAG_DETAIL,
    Columns,
    Detail,
    Order,
    PageKey,
    SeriesRow,
)
from fieldstation.domains.telemetry.store import sealed
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.gathering import bounded, gather
from fieldstation.domains.telemetry.store.points import (
    Points,
    columns_of,
    flagged,
    floats,
    in_key_order,
    integers,
    joined,
)
from fieldstation.domains.telemetry.store.recent import Part, between
from fieldstation.domains.telemetry.store.steps import Query, Row, Steps, as_json

ATTEMPTS = 3
WINDOW_US_MIN = 1_000_000
WINDOW_GROWTH = 8
WINDOW_US_MAX = 366 * 24 * US_PER_HOUR


@dataclass(frozen=True, slots=True)
class Reach:
    """What a page may hold: a period, a direction and the key that it starts strictly behind."""

    start_us: int
    end_us: int
    order: Order
    behind: PageKey

    @property
    def forwards(self) -> bool:
        return self.order is Order.OLDEST_FIRST

    def window(self, edge_us: int, width_us: int) -> tuple[int, int]:
        """Return the ``width_us`` from an edge on, in the page's direction, within the period."""
        if self.forwards:
            return edge_us, min(edge_us + width_us, self.end_us)
        return max(edge_us - width_us, self.start_us), edge_us

    def pick(self, points: Points) -> Points:
        """Return what lies behind the start, in the page's order."""
        ts_us, series_id = self.behind
        after = (points.ts_us > ts_us) | ((points.ts_us == ts_us) & (points.series_id > series_id))
        before = (points.ts_us < ts_us) | ((points.ts_us == ts_us) & (points.series_id < series_id))
        points = points.take(after if self.forwards else before)
        order = np.lexsort((points.series_id, points.ts_us))
        return points.take(order if self.forwards else order[::-1])


def page(
    dialect: Dialect,
    parts: Sequence[Part],
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    order: Order,
    limit: int,
    after: PageKey | None,
    anomaly: bool | None,
) -> Steps[Columns]:
    """Read one page.

    Cost: one second's readings are looked at first, then eight times as long, and so on until the
    page is full; an empty stretch costs one search per series however long it is. Each look reads
    the chunks that reach into it: up to 200 series their own, more series all of the hours touched.
    Anomalies have an index of their own.
    """
    start_us, end_us = bounded(start_us, end_us)
    if not series or start_us >= end_us:
        return Columns()
    reach = _reach(start_us, end_us, order, after)
    ids = [row.id for row in series]
    columns = Columns()
    for _ in range(ATTEMPTS):
        if anomaly:
            points = yield from _anomalies(dialect, parts, ids, reach, limit)
        else:
            points = yield from _readings(dialect, parts, ids, reach, limit, anomaly=anomaly)
        columns, is_whole = yield from _with_details(dialect, points)
        # Else readings were deleted between the two statements.
        if is_whole:
            break
    return columns


def _readings(
    dialect: Dialect,
    parts: Sequence[Part],
    ids: Sequence[int],
    reach: Reach,
    limit: int,
    *,
    anomaly: bool | None,
) -> Steps[Points]:
    """Read a page of readings, without the details of stored ones."""
    found: list[Points] = []
    count = 0
    edge = (
        max(reach.start_us, reach.behind.ts_us)
        if reach.forwards
        else min(reach.end_us, reach.behind.ts_us + 1)
    )
    width = WINDOW_US_MIN
    while count < limit and reach.start_us <= edge <= reach.end_us:
        low, high = reach.window(edge, width)
        if low >= high:
            break
        points = reach.pick((yield from gather(dialect, parts, ids, start_us=low, end_us=high)))
        if anomaly is not None:
            points = flagged(points, anomaly=anomaly)
        found.append(points.take(slice(limit - count)))
        count += len(found[-1])
        edge = high if reach.forwards else low
        width = min(width * WINDOW_GROWTH, WINDOW_US_MAX)
        if not len(points) and reach.start_us < edge < reach.end_us:
            following = yield from _next_edge(dialect, parts, ids, reach, edge)
            if following is None:
                break
            edge = following
    return joined(found)


def _reach(start_us: int, end_us: int, order: Order, after: PageKey | None) -> Reach:
    # Ids start at 1, so (instant, 0) stands before every reading of that instant.
    if order is Order.OLDEST_FIRST:
        behind = PageKey(start_us, 0)
        return Reach(start_us, end_us, order, max(behind, after or behind))
    behind = PageKey(end_us, 0)
    return Reach(start_us, end_us, order, min(behind, after or behind))


def _next_edge(
    dialect: Dialect, parts: Sequence[Part], ids: Sequence[int], reach: Reach, edge: int
) -> Steps[int | None]:
    """Return the instant from which on, in the page's direction, there may be readings again.

    Cost: three searches per series.
    """
    low, high = (edge, reach.end_us) if reach.forwards else (reach.start_us, edge)
    pieces = [piece.ts_us for part in parts for piece in between(part, ids, low, high)]
    rows = yield Query(
        _next_text(dialect, reach.order),
        (as_json(list(ids)), (edge if reach.forwards else edge - 1) // US_PER_HOUR),
    )
    hour = rows[0][0]
    sealed_edge = yield from sealed.next_edge(dialect, ids, edge, forwards=reach.forwards)
    if reach.forwards:
        known = [int(times[0]) for times in pieces]
        if hour is not None:
            known.append(max(edge, hour * US_PER_HOUR))
        known += [] if sealed_edge is None else [sealed_edge]
        return min(known, default=None)
    known = [int(times[-1]) + 1 for times in pieces]
    if hour is not None:
        known.append(min(edge, (hour + 1) * US_PER_HOUR))
    known += [] if sealed_edge is None else [sealed_edge]
    return max(known, default=None)


@lru_cache(maxsize=4)
def _next_text(dialect: Dialect, order: Order) -> str:
    extreme, compare = ("MIN", ">=") if order is Order.OLDEST_FIRST else ("MAX", "<=")
    inner = (
        f"SELECT {extreme}(h.hour) FROM series_hour AS h WHERE h.series_id = k.series_id"
        f" AND h.hour {compare} $2"
    )
    return dialect.finish(
        f"SELECT {extreme}(({inner})) FROM {dialect.rows('$1', 'k', series_id='bigint')}"
    )


def _anomalies(
    dialect: Dialect, parts: Sequence[Part], ids: Sequence[int], reach: Reach, limit: int
) -> Steps[Points]:
    """Read a page of anomalies: one search per series and the anomalies found."""
    pieces = [
        flagged(piece, anomaly=True)
        for part in parts
        for piece in between(part, ids, reach.start_us, reach.end_us)
    ]
    rows = yield Query(
        _anomalies_text(dialect, reach.order),
        (as_json(list(ids)), reach.start_us, reach.end_us, *reach.behind, limit),
    )
    return reach.pick(in_key_order(joined([*pieces, _points(rows)]))).take(slice(limit))


def _points(rows: Sequence[Row]) -> Points:
    series_id, ts_us, value, flags = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Points(integers(series_id), integers(ts_us), floats(value), integers(flags))


@lru_cache(maxsize=4)
def _anomalies_text(dialect: Dialect, order: Order) -> str:
    direction, compare = ("ASC", ">") if order is Order.OLDEST_FIRST else ("DESC", "<")
    condition = (
        "d.series_id = k.series_id AND d.ts >= $2 AND d.ts < $3"
        f" AND (d.flags & {FLAG_ANOMALY}) <> 0"
    )
    return dialect.finish(
        "SELECT d.series_id, d.ts, d.value, d.flags FROM"
        f" {dialect.rows('$1', 'k', series_id='bigint')}"
        f" {dialect.seek('reading_detail', 'd', condition)}"
        f" WHERE (d.ts, d.series_id) {compare} ($4, $5)"
        f" ORDER BY d.ts {direction}, d.series_id {direction} LIMIT $6"
    )


def _with_details(dialect: Dialect, points: Points) -> Steps[tuple[Columns, bool]]:
    """Add the details: from memory where they are there, else by one search each. Tell whether all
    were found."""
    columns = columns_of(points)
    missing: list[tuple[int, int, int]] = []
    for at, flags in enumerate(columns.flags):
        if not flags & FLAG_DETAIL or at in columns.details:
            continue
        missing.append((at, columns.series_id[at], columns.ts_us[at]))
    found: Sequence[Row] = ()
    if missing:
        found = yield Query(_details_text(dialect), (as_json(missing),))
        columns.details |= {
            at: Detail(text, metadata, score) for at, text, metadata, score in found
        }
    return columns, len(found) == len(missing)


@lru_cache(maxsize=4)
def _details_text(dialect: Dialect) -> str:
    hour = dialect.hour_of("k.ts")
    condition = f"d.hour = {hour} AND d.series_id = k.series_id AND d.ts = k.ts"
    keys = dialect.rows("$1", "k", position="bigint", series_id="bigint", ts="bigint")
    return dialect.finish(
        f"SELECT k.position, d.text, d.metadata, d.score FROM {keys}"
        f" {dialect.seek('reading_detail', 'd', condition)}"
    )
