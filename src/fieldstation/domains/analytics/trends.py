"""Makes trends of buckets: joined over the series of a group, compared, and a line through them.

A row is a group, a column a bucket of the period. What is nothing, or too large for a double, is a
NaN or infinite here and null in JSON.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.domains.analytics.schemas import Direction, TrendAggregate
from fieldstation.domains.telemetry.summaries import Bucket

US_PER_DAY = 86_400_000_000
ALL_TIME_US = 1_000_000 * US_PER_DAY
"""An interval that holds every reading: one bucket a series, made of whole days where it can be."""
ADDITIVE = frozenset({TrendAggregate.SUM, TrendAggregate.COUNT})
"""Of no readings these are 0, the others are nothing."""
DIRECTED_MIN = 3
"""Two points lie on a line whatever the noise is."""
STANDARD_ERRORS = 2
ROUNDING = 1e-12
"""Of the largest value: whatever changes less over the period does not change."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Period:
    """``[start_us, end_us)``, not empty, in buckets aligned to the epoch; those at its edges may
    reach beyond it."""

    start_us: int
    end_us: int
    interval_us: int

    @property
    def starts(self) -> range:
        """Where each bucket begins."""
        first = self.start_us // self.interval_us * self.interval_us
        return range(first, self.end_us, self.interval_us)

    def holds(self, start_us: int) -> bool:
        """Whether a bucket lies in the period as a whole."""
        return self.start_us <= start_us <= self.end_us - self.interval_us


@dataclass(frozen=True, slots=True)
class Tallies:
    """What readings come to, by rows and columns or by rows alone; counts are whole numbers."""

    count: Floats
    total: Floats
    minimum: Floats
    maximum: Floats

    def values(self, aggregate: TrendAggregate) -> Floats:
        if aggregate is TrendAggregate.COUNT:
            return self.count
        if aggregate is TrendAggregate.SUM:
            return self.total
        if aggregate is TrendAggregate.AVG:
            return self.total / self.count
        extreme = self.minimum if aggregate is TrendAggregate.MIN else self.maximum
        return np.where(self.count > 0, extreme, np.nan)

    def whole(self) -> "Tallies":
        """Return what all columns of a row come to."""
        return Tallies(
            self.count.sum(axis=1),
            self.total.sum(axis=1),
            self.minimum.min(axis=1),
            self.maximum.max(axis=1),
        )


def trends(
    buckets: Sequence[Bucket],
    before: Sequence[Bucket],
    groups_of: Mapping[int, Sequence[int]],
    *,
    groups: int,
    period: Period,
    aggregate: TrendAggregate,
) -> Iterator[dict[str, Any] | None]:
    """Yield how each group went, of its series' buckets in the period and their ``ALL_TIME_US``
    before; ``None`` where there are neither.

    ``groups_of`` numbers the groups of a series. Series are joined reading by reading: one that
    sends twice as much counts twice. Cost: some µs for each bucket.
    """
    starts = period.starts
    texts = [us_to_rfc3339(start_us) for start_us in starts]
    days = np.array([(start_us - starts[0]) / US_PER_DAY for start_us in starts])
    with np.errstate(all="ignore"):
        tallies = tallied(buckets, groups_of, groups=groups, starts=starts)
        values, there = tallies.values(aggregate), tallies.count > 0
        if aggregate in ADDITIVE:
            there = np.full_like(there, fill_value=True)
        whole = tallies.whole()
        previous = tallied(
            before, groups_of, groups=groups, starts=range(0, 1, ALL_TIME_US)
        ).whole()
        slopes, directions = lines_through(
            days, values, there & np.array([period.holds(start_us) for start_us in starts])
        )
        columns = compared(whole.values(aggregate), previous.values(aggregate))
    for row in range(groups):
        if not whole.count[row] and not previous.count[row]:
            yield None
            continue
        counts = tallies.count[row].astype(np.int64).tolist()
        shown = zip(texts, values[row].tolist(), counts, there[row].tolist(), strict=True)
        yield {
            "count": int(whole.count[row]),
            "previous_count": int(previous.count[row]),
            **{name: float(column[row]) for name, column in columns.items()},
            "slope_per_day": float(slopes[row]),
            "direction": directions[row],
            "buckets": [
                {"start": start, "value": value, "count": count}
                for start, value, count, is_there in shown
                if is_there
            ],
        }


def tallied(
    buckets: Iterable[Bucket],
    groups_of: Mapping[int, Sequence[int]],
    *,
    groups: int,
    starts: range,
) -> Tallies:
    """Join the buckets of each group's series."""
    found = [(row, bucket) for bucket in buckets for row in groups_of.get(bucket.series_id, ())]
    width = len(starts)
    cells = np.array(
        [row * width + (bucket.start_us - starts[0]) // starts.step for row, bucket in found],
        np.intp,
    )

    def added(parts: Sequence[float]) -> Floats:
        sums: Floats = np.bincount(cells, parts, groups * width).astype(np.float64)
        return sums.reshape(groups, width)

    def extreme(of: np.ufunc, parts: Sequence[float], nothing: float) -> Floats:
        most = np.full(groups * width, nothing)
        of.at(most, cells, parts)
        return most.reshape(groups, width)

    return Tallies(
        added([bucket.count for _, bucket in found]),
        added([bucket.total for _, bucket in found]),
        extreme(np.minimum, [bucket.minimum for _, bucket in found], np.inf),
        extreme(np.maximum, [bucket.maximum for _, bucket in found], -np.inf),
    )


def compared(values: Floats, previous: Floats) -> dict[str, Floats]:
    change = values - previous
    return {
        "value": values,
        "previous_value": previous,
        "change": change,
        "relative_change": change / np.abs(previous),
    }


def lines_through(
    days: Floats, values: Floats, counted: NDArray[np.bool_]
) -> tuple[Floats, list[Direction | None]]:
    """Return the slope of each row's line by least squares, through what is ``counted``, each point
    weighing the same, and where it leads.

    Values are scaled to 1, so that no square leaves the range of a double. A line leads up or down
    if its slope is more than twice its standard error, s / √Σx², s² = Σ(y - slope x)² / (n - 2).
    """
    points = counted.sum(axis=1)
    largest = np.max(np.abs(values), axis=1, where=counted, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    x, y = (centred(one, counted, points) for one in (days, values / scale[:, None]))
    spread = (x * x).sum(axis=1)
    slope = (x * y).sum(axis=1) / spread
    residuals = np.square(y - slope[:, None] * x).sum(axis=1)
    error = np.sqrt(residuals / (points - 2) / spread)
    noise = np.maximum(STANDARD_ERRORS * error, ROUNDING / (x.max(axis=1) - x.min(axis=1)))
    directions = [
        None if number < DIRECTED_MIN or np.isnan(one) else direction_of(one, within)
        for number, one, within in zip(points.tolist(), slope.tolist(), noise.tolist(), strict=True)
    ]
    return slope * scale, directions


def centred(values: Floats, counted: NDArray[np.bool_], points: NDArray[np.integer]) -> Floats:
    """Return how far each is from its row's mean, 0 where it does not count."""
    mean = np.where(counted, values, 0.0).sum(axis=1) / points
    return np.where(counted, values - mean[:, None], 0.0)


def direction_of(slope: float, noise: float) -> Direction:
    if abs(slope) <= noise:
        return Direction.STEADY
    return Direction.RISING if slope > 0 else Direction.FALLING
