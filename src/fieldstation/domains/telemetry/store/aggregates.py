"""Buckets and statistics, computed by the database from the hot rows.

Seam: a bucket is mergeable (counts, sums, extremes, first and last), so buckets of sealed chunks or
rollups are added to these by ``(series_id, start_us)``; percentiles need the values themselves.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import inf, sqrt

from fieldstation.domains.telemetry.ports import (
    KIND_MASK,
    US_PER_MINUTE,
    Bucket,
    Kind,
    SeriesRow,
    SeriesStats,
)
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.periods import (
    Way,
    bounded,
    ids_of,
    readings_between,
    way_for,
)
from fieldstation.domains.telemetry.store.steps import Argument, Query, Row, Steps

# Sums of larger values could leave the range of a double, which PostgreSQL refuses; they are
# infinite instead.
SUMMED_MAX = 1e300
SQUARED_MAX = 1e140

SUMMED = f"CASE WHEN ABS(r.value) <= {SUMMED_MAX!r} THEN r.value END"
MODERATE = f"CASE WHEN ABS(r.value) <= {SQUARED_MAX!r} THEN r.value END"
SQUARED = f"CASE WHEN ABS(r.value) <= {SQUARED_MAX!r} THEN r.value * r.value END"

NOT_TEXT = f"(r.flags & {KIND_MASK}) <> {Kind.TEXT.value}"


def buckets(
    dialect: Dialect,
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    interval_us: int,
) -> Steps[list[Bucket]]:
    """Aggregate into buckets.

    Cost: reads every row of the period once (see ``readings_between``), and two searches per bucket
    for first and last.
    """
    start_us, end_us = bounded(start_us, end_us)
    if not series or start_us >= end_us:
        return []
    way = way_for(series)
    args = (*_period(series, start_us, end_us), interval_us)
    rows = yield Query(_buckets_text(dialect, way), args)
    return [_bucket(row) for row in rows]


def stats(
    dialect: Dialect, series: Sequence[SeriesRow], *, start_us: int, end_us: int
) -> Steps[list[SeriesStats]]:
    """Summarise each series; percentiles are exact, interpolated between neighbours.

    Cost: reads every row of the period and sorts it by value.
    """
    start_us, end_us = bounded(start_us, end_us)
    if not series or start_us >= end_us:
        return []
    way = way_for(series)
    rows = yield Query(_stats_text(dialect, way), _period(series, start_us, end_us))
    return [_summary(row) for row in rows]


def _period(series: Sequence[SeriesRow], start_us: int, end_us: int) -> tuple[Argument, ...]:
    minutes = (start_us // US_PER_MINUTE, (end_us - 1) // US_PER_MINUTE)
    return (ids_of(series), *minutes, start_us, end_us)


def _value_at(column: str) -> str:
    return (
        f"(SELECT f.value FROM reading AS f WHERE f.minute = b.{column} / {US_PER_MINUTE}"
        f" AND f.series_id = b.series_id AND f.ts = b.{column})"
    )


@lru_cache(maxsize=8)
def _buckets_text(dialect: Dialect, way: Way) -> str:
    return dialect.finish(
        "SELECT b.series_id, b.start_us, b.counted, b.total, b.squares, b.low, b.high,"
        f" {_value_at('first_us')}, {_value_at('last_us')}"
        " FROM (SELECT r.series_id AS series_id, r.ts - r.ts % $6 AS start_us, COUNT(*) AS counted,"
        f" SUM({SUMMED}) AS total, SUM({SQUARED}) AS squares, MIN(r.value) AS low,"
        " MAX(r.value) AS high, MIN(r.ts) AS first_us, MAX(r.ts) AS last_us"
        f" {readings_between(dialect, way)} AND r.ts >= $4 AND r.ts < $5 AND {NOT_TEXT}"
        " GROUP BY r.series_id, r.ts - r.ts % $6) AS b ORDER BY b.series_id, b.start_us"
    )


@lru_cache(maxsize=8)
def _stats_text(dialect: Dialect, way: Way) -> str:
    """Rank the values of each series.

    The k-th percentile lies at rank ``(count - 1) * k / 100``, from 0.
    """
    at = "MAX(CASE WHEN v.place = (v.counted - 1) * {} / 100 + {} THEN v.value END)"
    ranks = ", ".join(at.format(percent, step) for percent in (50, 95) for step in (0, 1))
    return dialect.finish(
        "SELECT b.*,"
        f" {_value_at('first_us')}, {_value_at('last_us')}"
        " FROM (SELECT v.series_id, v.counted, MIN(v.value), MAX(v.value), v.mean,"
        f" SUM(CASE WHEN ABS(v.value) <= {SQUARED_MAX!r}"
        f" THEN (v.value - v.mean) * (v.value - v.mean) END), {ranks},"
        " MIN(v.ts) AS first_us, MAX(v.ts) AS last_us"
        " FROM (SELECT r.series_id, r.ts, r.value,"
        " ROW_NUMBER() OVER (PARTITION BY r.series_id ORDER BY r.value) - 1 AS place,"
        " COUNT(*) OVER (PARTITION BY r.series_id) AS counted,"
        f" AVG({MODERATE}) OVER (PARTITION BY r.series_id) AS mean"
        f" {readings_between(dialect, way)} AND r.ts >= $4 AND r.ts < $5 AND {NOT_TEXT}) AS v"
        " GROUP BY v.series_id, v.counted, v.mean) AS b ORDER BY b.series_id"
    )


def _bucket(row: Row) -> Bucket:
    series_id, start_us, count, total, squares, low, high, first, last = row
    largest = max(high, -low)
    return Bucket(
        series_id=series_id,
        start_us=start_us,
        count=count,
        total=total if largest <= SUMMED_MAX else inf,
        total_squares=squares if largest <= SQUARED_MAX else inf,
        minimum=low,
        maximum=high,
        first=first,
        last=last,
    )


def _summary(row: Row) -> SeriesStats:
    series_id, count, low, high, mean, deviations, *ranks, start_us, end_us, first, last = row
    moderate = max(high, -low) <= SQUARED_MAX
    return SeriesStats(
        series_id=series_id,
        count=count,
        minimum=low,
        maximum=high,
        mean=mean if moderate else inf,
        stddev=sqrt(deviations / count) if moderate else inf,
        first=first,
        last=last,
        p50=_between(ranks[0], ranks[1], (count - 1) * 50 % 100 / 100),
        p95=_between(ranks[2], ranks[3], (count - 1) * 95 % 100 / 100),
        start_us=start_us,
        end_us=end_us,
    )


def _between(lower: float, upper: float | None, share: float) -> float:
    return lower if upper is None else lower + (upper - lower) * share
