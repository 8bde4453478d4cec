"""Long series for the benchmarks of queries and of disk space, made by numpy: millions a second.

The shapes of values are those of ``bench.data``: one-decimal noise around a level, which here
follows the day, and a random walk with three decimals. Nothing is late or repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data import SEED, SENSORS

US_PER_HOUR = 3_600_000_000
US_PER_DAY = 24 * US_PER_HOUR
JITTER_UNIT_US = 1_000
WALK_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """One reading every ``interval_us``, each up to ``jitter_us`` later, in whole milliseconds."""

    interval_us: int
    jitter_us: int = 0

    def count(self, span_us: int) -> int:
        return span_us // self.interval_us


class SyntheticSeries:
    """One series, taken block by block; its values go on where the last block ended."""

    def __init__(self, number: int, timing: Timing, *, start_us: int) -> None:
        self._sensor = SENSORS[number % len(SENSORS)]
        # Apart, so that a series is the same in blocks of any size.
        self._jitter = np.random.default_rng((SEED, number, 0))
        self._noise = np.random.default_rng((SEED, number, 1))
        self._level = self._sensor.level
        self._timing = timing
        self._next_us = start_us

    def take(self, count: int) -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
        """Return the next ``count`` instants in microseconds, ascending, and values."""
        timing = self._timing
        ts_us = self._next_us + np.arange(count, dtype=np.int64) * timing.interval_us
        self._next_us += count * timing.interval_us
        if timing.jitter_us:
            steps = timing.jitter_us // JITTER_UNIT_US
            ts_us += (self._jitter.random(count) * steps).astype(np.int64) * JITTER_UNIT_US
        spread = self._sensor.spread
        noise = spread * (self._noise.random(count) - 0.5)
        if not self._sensor.walks:
            day = np.sin(ts_us * (2 * np.pi / US_PER_DAY))
            return ts_us, np.round(self._level + spread * day + noise, 1)
        walk = self._level + np.cumsum(noise / 10)
        self._level = float(walk[-1])
        return ts_us, np.round(walk, WALK_DECIMALS)


def spans(start_us: int, end_us: int, step_us: int) -> Iterator[tuple[int, int]]:
    """Cut a period at the multiples of ``step_us`` since the epoch."""
    low = start_us
    while low < end_us:
        high = min((low // step_us + 1) * step_us, end_us)
        yield low, high
        low = high
