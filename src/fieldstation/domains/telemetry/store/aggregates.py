"""Buckets and statistics, computed with numpy over blocks of hours that fit into memory.

Seam: rollups give the same partial results (counts, sums, extremes, first and last) for whole hours
without reading them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt

import numpy as np

from fieldstation.domains.telemetry.ports import (
    KIND_MASK,
    Bucket,
    Kind,
    SeriesRow,
    SeriesStats,
)
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.gathering import bounded, gather, hours_with_readings
from fieldstation.domains.telemetry.store.points import Floats, Points, flagged, runs
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.steps import Steps

# Sums of larger values could leave the range of a double; they are infinite instead.
SUMMED_MAX = 1e300
SQUARED_MAX = 1e140
SERIES_PER_WALK = 100
BLOCK_READINGS = 500_000
BLOCK_HOURS_MAX = 24 * 31
# Of a series with more readings every second, every fourth … is ranked: a rank is then off by less
# than one in a million.
RANKED_MAX = 4_000_000


def buckets(
    dialect: Dialect,
    parts: Sequence[Part],
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    interval_us: int,
    anomaly: bool | None = None,
) -> Steps[list[Bucket]]:
    """Aggregate into buckets.

    Cost: reads every chunk of the period once; holds about a million readings at a time.
    """
    found: dict[tuple[int, int], Bucket] = {}
    for walk in walks(series, start_us, end_us, anomaly):
        while (block := (yield from walk.next_block(dialect, parts))) is not None:
            for bucket in _buckets_of(block, interval_us):
                key = (bucket.series_id, bucket.start_us)
                known = found.get(key)
                found[key] = bucket if known is None else _added(known, bucket)
    return [found[key] for key in sorted(found)]


def stats(
    dialect: Dialect,
    parts: Sequence[Part],
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    anomaly: bool | None = None,
) -> Steps[list[SeriesStats]]:
    """Summarise each series; percentiles are exact up to four million readings of a series.

    Cost: reads every chunk of the period once and sorts the values; holds about a million readings
    at a time, and the values of 100 series.
    """
    found: list[SeriesStats] = []
    for walk in walks(series, start_us, end_us, anomaly):
        summaries: defaultdict[int, Summary] = defaultdict(Summary)
        while (block := (yield from walk.next_block(dialect, parts))) is not None:
            bounds = runs(block.series_id)
            for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                own = block.take(slice(low, high))
                summaries[int(own.series_id[0])].add(own)
        found += [summary.finish(series_id) for series_id, summary in summaries.items()]
    return sorted(found, key=lambda summary: summary.series_id)


def walks(
    series: Sequence[SeriesRow], start_us: int, end_us: int, anomaly: bool | None
) -> Iterator["Walk"]:
    """Yield a walk for each hundred of the series."""
    ids = [row.id for row in series]
    for at in range(0, len(ids), SERIES_PER_WALK):
        yield Walk(ids[at : at + SERIES_PER_WALK], *bounded(start_us, end_us), anomaly=anomaly)


class Walk:
    """The numeric readings of some series in a period, in blocks of ascending hours."""

    def __init__(
        self, series_ids: Sequence[int], start_us: int, end_us: int, *, anomaly: bool | None
    ) -> None:
        self._series_ids = series_ids
        self._anomaly = anomaly
        self._start_us = start_us
        self._end_us = end_us
        self._hours: list[int] | None = None if start_us < end_us else []
        self._hours_per_block = 1

    def next_block(self, dialect: Dialect, parts: Sequence[Part]) -> Steps[Points | None]:
        """Return the next readings in key order, without texts; None behind the last."""
        ids = self._series_ids
        if self._hours is None:
            self._hours = yield from hours_with_readings(
                dialect, parts, ids, start_us=self._start_us, end_us=self._end_us
            )
        while self._hours:
            first = self._hours[0]
            taken = [hour for hour in self._hours if hour < first + self._hours_per_block]
            self._hours = self._hours[len(taken) :]
            points = yield from gather(
                dialect,
                parts,
                ids,
                start_us=max(self._start_us, first * US_PER_HOUR),
                end_us=min(self._end_us, (taken[-1] + 1) * US_PER_HOUR),
            )
            self._fit(len(points))
            points = points.take((points.flags & KIND_MASK) != Kind.TEXT)
            if self._anomaly is not None:
                points = flagged(points, anomaly=self._anomaly)
            if len(points):
                return points
        return None

    def _fit(self, readings: int) -> None:
        """Take more hours at a time while they hold few readings, fewer when they hold many."""
        if readings < BLOCK_READINGS // 2:
            self._hours_per_block = min(self._hours_per_block * 2, BLOCK_HOURS_MAX)
        elif readings > BLOCK_READINGS:
            self._hours_per_block = max(1, self._hours_per_block // 2)


def _buckets_of(points: Points, interval_us: int) -> Iterator[Bucket]:
    begins = points.ts_us - points.ts_us % interval_us
    bounds = runs(points.series_id, begins)
    first, last = bounds[:-1], bounds[1:] - 1
    value = points.value
    low, high = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
    with np.errstate(over="ignore"):
        total = np.add.reduceat(value, first)
        squares = np.add.reduceat(value * value, first)
    largest = np.maximum(high, -low)
    total = np.where(largest > SUMMED_MAX, inf, total)
    squares = np.where(largest > SQUARED_MAX, inf, squares)
    columns = (
        points.series_id[first],
        begins[first],
        np.diff(bounds),
        total,
        squares,
        low,
        high,
        value[first],
        value[last],
    )
    for row in zip(*(column.tolist() for column in columns), strict=True):
        yield Bucket(*row)


def _added(one: Bucket, other: Bucket) -> Bucket:
    """Join two parts of a bucket, the later one second."""
    return Bucket(
        series_id=one.series_id,
        start_us=one.start_us,
        count=one.count + other.count,
        total=one.total + other.total,
        total_squares=one.total_squares + other.total_squares,
        minimum=min(one.minimum, other.minimum),
        maximum=max(one.maximum, other.maximum),
        first=one.first,
        last=other.last,
    )


@dataclass(slots=True)
class Summary:
    """One series' statistics so far; deviations are joined by the method of Chan et al. (1983)."""

    count: int = 0
    mean: float = 0.0
    deviations: float = 0.0
    minimum: float = inf
    maximum: float = -inf
    first: float = 0.0
    last: float = 0.0
    start_us: int = 0
    end_us: int = 0
    stride: int = 1
    ranked: list[Floats] = field(default_factory=list)
    ranked_count: int = 0

    def add(self, points: Points) -> None:
        """Take over later readings of the series, in order."""
        value = points.value
        count = len(value)
        if not self.count:
            self.first, self.start_us = float(value[0]), int(points.ts_us[0])
        self.last, self.end_us = float(value[-1]), int(points.ts_us[-1])
        self.minimum = min(self.minimum, float(value.min()))
        self.maximum = max(self.maximum, float(value.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(value.mean())
            deviations = float(np.square(value - mean).sum())
        whole = self.count + count
        apart = mean - self.mean
        self.deviations += deviations
        if self.count:
            self.deviations += apart * apart * self.count * count / whole
            self.mean += apart * count / whole
        else:
            self.mean = mean
        self.count = whole
        self._rank(value)

    def _rank(self, value: Floats) -> None:
        self.ranked.append(value[:: self.stride])
        self.ranked_count += len(self.ranked[-1])
        while self.ranked_count > RANKED_MAX:
            self.ranked = [np.concatenate(self.ranked)[::2]]
            self.ranked_count = len(self.ranked[0])
            self.stride *= 2

    def finish(self, series_id: int) -> SeriesStats:
        moderate = max(self.maximum, -self.minimum) <= SQUARED_MAX
        values = np.concatenate(self.ranked)
        p50, p95 = percentile(values, 50), percentile(values, 95)
        return SeriesStats(
            series_id=series_id,
            count=self.count,
            minimum=self.minimum,
            maximum=self.maximum,
            mean=self.mean if moderate else inf,
            stddev=sqrt(self.deviations / self.count) if moderate else inf,
            first=self.first,
            last=self.last,
            p50=p50,
            p95=p95,
            start_us=self.start_us,
            end_us=self.end_us,
        )


def percentile(values: Floats, percent: int) -> float:
    """Return a percentile, interpolated between neighbours; differences may exceed a double."""
    place, rest = divmod((len(values) - 1) * percent, 100)
    above = min(place + 1, len(values) - 1)
    ordered = np.partition(values, (place, above))
    share = rest / 100
    return float(ordered[place]) * (1 - share) + float(ordered[above]) * share
