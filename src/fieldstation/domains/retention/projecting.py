"""Says how much will be on the disk if it goes on as it did lately."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from fieldstation.domains.retention.measuring import Measured

HORIZON_DAYS = 36_525.0


class Part(NamedTuple):
    """Bytes that are spread evenly over the last ``days``, what a day adds, and for how many days
    they are kept (None: forever)."""

    stored: float
    days: float
    per_day: float
    kept_days: int | None

    def after(self, days: float) -> float:
        """Return what there is in so many days."""
        if self.kept_days is None:
            return self.stored + self.per_day * days
        share = (self.kept_days - days) / self.days
        left = self.stored * min(1.0, max(0.0, share))
        return left + self.per_day * min(days, self.kept_days)

    @property
    def turns(self) -> list[float]:
        """Return after how many days it grows otherwise than before."""
        if self.kept_days is None:
            return []
        return [self.kept_days - self.days, float(self.kept_days)]


def parts_of(measured: Sequence[Measured]) -> Iterator[Part]:
    """Yield readings and rollups of each kind."""
    for one in measured:
        raw_days, rollup_days = one.kept
        yield Part(one.raw_bytes, one.raw_days, one.raw_bytes_per_day, raw_days)
        yield Part(one.rollup_bytes, one.rollup_days, one.rollup_bytes_per_day, rollup_days)


def after(parts: Sequence[Part], days: float) -> float:
    return sum(part.after(days) for part in parts)


def steady(parts: Sequence[Part]) -> float | None:
    """Return where it ends; None if it never does."""
    if any(part.kept_days is None and part.per_day > 0 for part in parts):
        return None
    return after(parts, HORIZON_DAYS)


def days_until(parts: Sequence[Part], *, grown_by: float) -> float | None:
    """Return after how many days it has grown by so many bytes; None if not within a hundred years.

    Between two turns it grows evenly.
    """
    goal = sum(part.stored for part in parts) + grown_by
    turns = {turn for part in parts for turn in part.turns if 0.0 < turn < HORIZON_DAYS}
    for begin, end in pairwise(sorted({0.0, *turns, HORIZON_DAYS})):
        low, high = after(parts, begin), after(parts, end)
        if high >= goal:
            return begin if high <= low else begin + (end - begin) * (goal - low) / (high - low)
    return None
