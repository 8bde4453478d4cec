"""Makes a trend of buckets: joined over series, compared, and a line through them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.domains.analytics.schemas import Direction, TrendAggregate
from fieldstation.domains.telemetry.summaries import Bucket

US_PER_DAY = 86_400_000_000
ADDITIVE = frozenset({TrendAggregate.SUM, TrendAggregate.COUNT})
"""Of no readings these are 0, the others are nothing."""
DIRECTED_MIN = 3
"""Two points lie on a line whatever the noise is."""
STANDARD_ERRORS = 2
ROUNDING = 1e-12
"""Of the largest value: whatever changes less over the period does not change."""


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


@dataclass(slots=True)
class Tally:
    """What the readings of several series in one span of time come to.

    The mean is that of all readings: a series with twice as many counts twice.
    """

    count: int = 0
    total: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, part: "Bucket | Tally") -> None:
        self.count += part.count
        self.total += part.total
        self.minimum = min(self.minimum, part.minimum)
        self.maximum = max(self.maximum, part.maximum)

    def value(self, aggregate: TrendAggregate) -> float | None:
        """Return the aggregate, infinite when it is too large for a double."""
        if aggregate is TrendAggregate.COUNT:
            return self.count
        if aggregate is TrendAggregate.SUM:
            return self.total
        if not self.count:
            return None
        if aggregate is TrendAggregate.AVG:
            return self.total / self.count
        return self.minimum if aggregate is TrendAggregate.MIN else self.maximum


def trend(
    buckets: Iterable[Bucket],
    before: Iterable[Bucket],
    *,
    period: Period,
    aggregate: TrendAggregate,
) -> dict[str, Any] | None:
    """Return how a group of series went, of its buckets in the period and those before.

    ``None`` when there are none. Cost: a step for each of them.
    """
    tallies: defaultdict[int, Tally] = defaultdict(Tally)
    for bucket in buckets:
        tallies[bucket.start_us].add(bucket)
    whole, previous = Tally(), Tally()
    for tally in tallies.values():
        whole.add(tally)
    for bucket in before:
        previous.add(bucket)
    if not whole.count and not previous.count:
        return None
    starts = period.starts if aggregate in ADDITIVE else sorted(tallies)
    line = [(start_us, tallies[start_us]) for start_us in starts]
    points = [
        (start_us / US_PER_DAY, value)
        for start_us, tally in line
        if period.holds(start_us) and (value := tally.value(aggregate)) is not None
    ]
    slope, direction = slope_through(points)
    return {
        "count": whole.count,
        "previous_count": previous.count,
        **compared(whole.value(aggregate), previous.value(aggregate)),
        "slope_per_day": slope,
        "direction": direction,
        "buckets": [
            {
                "start": us_to_rfc3339(start_us),
                "value": tally.value(aggregate),
                "count": tally.count,
            }
            for start_us, tally in line
        ],
    }


def compared(value: float | None, previous: float | None) -> dict[str, float | None]:
    change = None if value is None or previous is None else value - previous
    return {
        "value": value,
        "previous_value": previous,
        "change": change,
        "relative_change": change / abs(previous) if change is not None and previous else None,
    }


def slope_through(
    points: Sequence[tuple[float, float]],
) -> tuple[float | None, Direction | None]:
    """Return the slope of the line through points by least squares, each weighing the same, and
    where it leads.

    Without two points, or with values beyond a double, there is none. Values are scaled to 1, so
    that no square leaves the range of a double.
    """
    largest = max((abs(value) for _, value in points), default=0.0)
    if len(points) < 2 or math.isinf(largest):
        return None, None
    if not largest:
        return 0.0, Direction.STEADY if len(points) >= DIRECTED_MIN else None
    day_mean = math.fsum(day for day, _ in points) / len(points)
    value_mean = math.fsum(value / largest for _, value in points) / len(points)
    apart = [(day - day_mean, value / largest - value_mean) for day, value in points]
    spread = math.fsum(x * x for x, _ in apart)
    slope = math.fsum(x * y for x, y in apart) / spread
    return slope * largest, direction_of(slope, apart, spread)


def direction_of(
    slope: float, apart: Sequence[tuple[float, float]], spread: float
) -> Direction | None:
    """Tell a slope from what noise makes: it is more than twice its standard error, s / √Σx² with
    s² = Σ(y - slope x)² / (n - 2)."""
    if len(apart) < DIRECTED_MIN:
        return None
    residuals = math.fsum((y - slope * x) ** 2 for x, y in apart)
    error = math.sqrt(residuals / (len(apart) - 2) / spread)
    days = apart[-1][0] - apart[0][0]
    if abs(slope) <= max(STANDARD_ERRORS * error, ROUNDING / days):
        return Direction.STEADY
    return Direction.RISING if slope > 0 else Direction.FALLING
