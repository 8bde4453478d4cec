"""Pages of readings: windows of minutes, doubling until the page is full.

``_window`` is the one place that fetches the rows of some minutes, in page order: readings kept
elsewhere than in the hot rows are merged in there, and ``_next_minute`` is where such a source says
what it holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fieldstation.domains.telemetry.ports import (
    FLAG_DETAIL,
    US_PER_MINUTE,
    Columns,
    Detail,
    Order,
    PageKey,
    SeriesRow,
)
from fieldstation.domains.telemetry.store.dialect import MINUTES_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.periods import (
    IS_ANOMALY_OF_R,
    Way,
    bounded,
    ids_of,
    readings_between,
    way_for,
)
from fieldstation.domains.telemetry.store.steps import Query, Row, Steps, as_json

SEEKS_PER_WINDOW = 2_000
WINDOW_MINUTES_MAX = 60 * 24 * 366


@dataclass(frozen=True, slots=True)
class Reach:
    """What a page may hold: a period, a direction and the key that it starts strictly behind."""

    start_us: int
    end_us: int
    order: Order
    behind: PageKey

    @property
    def first_minute(self) -> int:
        """The minute where the page begins, in its direction."""
        if self.order is Order.OLDEST_FIRST:
            return max(self.start_us, self.behind.ts_us) // US_PER_MINUTE
        return min(self.end_us - 1, self.behind.ts_us) // US_PER_MINUTE

    def window(self, edge: int, width: int) -> tuple[int, int]:
        """Return the lowest and highest of ``width`` minutes from ``edge`` on, in the period."""
        if self.order is Order.OLDEST_FIRST:
            return edge, min(edge + width - 1, (self.end_us - 1) // US_PER_MINUTE)
        return max(edge - width + 1, self.start_us // US_PER_MINUTE), edge

    def covers(self, minute: int) -> bool:
        return self.start_us // US_PER_MINUTE <= minute <= (self.end_us - 1) // US_PER_MINUTE


def page(
    dialect: Dialect,
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    order: Order,
    limit: int,
    after: PageKey | None,
    only_anomalies: bool,
) -> Steps[Columns]:
    """Read one page.

    Cost: two statements when the newest (oldest) minutes fill it, and two for each doubling of the
    window else; an empty stretch costs one search per series however long it is. Up to 200 series
    each minute of the window takes one search per series; more series read all rows of the window,
    whosever they are. Anomalies have an index of their own.
    """
    start_us, end_us = bounded(start_us, end_us)
    reach = _reach(start_us, end_us, order, after)
    way = Way.ANOMALIES if only_anomalies else way_for(series)
    ids = ids_of(series)
    found: list[Row] = []
    edge = reach.first_minute
    width = 1 if way is Way.SCAN else max(1, min(60, SEEKS_PER_WINDOW // max(1, len(series))))
    empty = way is not Way.SCAN
    while series and len(found) < limit and reach.covers(edge):
        if empty:
            following = yield from _next_minute(dialect, ids, way=way, order=order, edge=edge)
            if following is None or not reach.covers(following):
                break
            edge = following
        low, high = reach.window(edge, width)
        rows = yield _window(
            dialect, way, reach, ids=ids, minutes=(low, high), limit=limit - len(found)
        )
        found.extend(rows)
        empty = not rows
        edge = high + 1 if order is Order.OLDEST_FIRST else low - 1
        width = min(width * 2, WINDOW_MINUTES_MAX)
    return (yield from _with_details(dialect, found))


def _reach(start_us: int, end_us: int, order: Order, after: PageKey | None) -> Reach:
    # Ids start at 1, so (instant, 0) stands before every reading of that instant.
    if order is Order.OLDEST_FIRST:
        behind = PageKey(start_us, 0)
        return Reach(start_us, end_us, order, max(behind, after or behind))
    behind = PageKey(end_us, 0)
    return Reach(start_us, end_us, order, min(behind, after or behind))


def _next_minute(
    dialect: Dialect, ids: str, *, way: Way, order: Order, edge: int
) -> Steps[int | None]:
    """Return the first minute from ``edge`` on that may hold a reading: one search per series."""
    rows = yield Query(_next_text(dialect, way is Way.ANOMALIES, order), (ids, edge))
    following = rows[0][0]
    if following is None:
        return None
    return max(edge, following) if order is Order.OLDEST_FIRST else min(edge, following)


def _window(
    dialect: Dialect, way: Way, reach: Reach, *, ids: str, minutes: tuple[int, int], limit: int
) -> Query:
    args = (ids, *minutes, reach.start_us, reach.end_us, *reach.behind, limit)
    return Query(_window_text(dialect, way, reach.order), args)


@lru_cache(maxsize=16)
def _window_text(dialect: Dialect, way: Way, order: Order) -> str:
    direction, compare = ("ASC", ">") if order is Order.OLDEST_FIRST else ("DESC", "<")
    return dialect.finish(
        f"SELECT r.series_id, r.ts, r.value, r.flags {readings_between(dialect, way)}"
        f" AND r.ts >= $4 AND r.ts < $5 AND (r.ts, r.series_id) {compare} ($6, $7)"
        f" ORDER BY r.ts {direction}, r.series_id {direction} LIMIT $8"
    )


@lru_cache(maxsize=8)
def _next_text(dialect: Dialect, anomalies: bool, order: Order) -> str:
    oldest = order is Order.OLDEST_FIRST
    extreme, compare = ("MIN", ">=") if oldest else ("MAX", "<=")
    if anomalies:
        # The whole minute of the edge counts, in either direction.
        rest = 0 if oldest else US_PER_MINUTE - 1
        bound = f"CAST($2 AS BIGINT) * {US_PER_MINUTE} + {rest}"
        inner = (
            f"SELECT {extreme}(r.ts) FROM reading AS r WHERE r.series_id = k.series_id"
            f" AND {IS_ANOMALY_OF_R} AND r.ts {compare} {bound}"
        )
        found = f"{extreme}(({inner})) / {US_PER_MINUTE}"
    else:
        inner = (
            f"SELECT {extreme}(h.hour) FROM series_hour AS h WHERE h.series_id = k.series_id"
            f" AND h.hour {compare} $2 / {MINUTES_PER_HOUR}"
        )
        last = 0 if oldest else MINUTES_PER_HOUR - 1
        found = f"{extreme}(({inner})) * {MINUTES_PER_HOUR} + {last}"
    return dialect.finish(f"SELECT {found} FROM {dialect.rows('$1', 'k', series_id='bigint')}")


def _with_details(dialect: Dialect, rows: Sequence[Row]) -> Steps[Columns]:
    """Turn rows into columns and fetch the details of those that have any: one search each."""
    if not rows:
        return Columns()
    series_id, ts_us, value, flags = (list(column) for column in zip(*rows, strict=True))
    readings = Columns(series_id=series_id, ts_us=ts_us, value=value, flags=flags)
    detailed = [
        (at, series_id[at], ts_us[at]) for at, flag in enumerate(flags) if flag & FLAG_DETAIL
    ]
    if detailed:
        found = yield Query(_details_text(dialect), (as_json(detailed),))
        readings.details = {
            at: Detail(text, metadata, score) for at, text, metadata, score in found
        }
    return readings


@lru_cache(maxsize=4)
def _details_text(dialect: Dialect) -> str:
    condition = f"d.minute = k.ts / {US_PER_MINUTE} AND d.series_id = k.series_id AND d.ts = k.ts"
    keys = dialect.rows("$1", "k", position="bigint", series_id="bigint", ts="bigint")
    return dialect.finish(
        f"SELECT k.position, d.text, d.metadata, d.score FROM {keys}"
        f" {dialect.seek('reading_detail', 'd', condition)}"
    )
