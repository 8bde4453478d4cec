"""Medians, percentiles and spreads of what the rounds measured."""

from collections.abc import Sequence
from statistics import median

import msgspec


class Latencies(msgspec.Struct, frozen=True):
    """Percentiles in microseconds."""

    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float


class Spread(msgspec.Struct, frozen=True):
    """The middle and the ends of a few figures."""

    median: float
    lowest: float
    highest: float


def spread(figures: Sequence[float]) -> Spread:
    """Return the median with the lowest and highest figure; at least one figure."""
    return Spread(median=median(figures), lowest=min(figures), highest=max(figures))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the ascending figures that a ``share`` (0 to 1) does not exceed."""
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def summarise_latencies(seconds: Sequence[float]) -> Latencies | None:
    """Return the percentiles of latencies in seconds; ``None`` when nothing was answered."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return Latencies(
        p50_us=round(percentile(ordered, 0.5) * 1e6, 1),
        p99_us=round(percentile(ordered, 0.99) * 1e6, 1),
        p999_us=round(percentile(ordered, 0.999) * 1e6, 1),
        max_us=round(ordered[-1] * 1e6, 1),
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours over theirs, round by round, so that what slows both in one round cancels."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]
