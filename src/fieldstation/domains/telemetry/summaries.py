"""What many readings come to: buckets, statistics, the shape of a line, their size."""

from dataclasses import dataclass

import msgspec


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """Aggregates over the non-text readings of one series in ``[start_us, start_us + interval)``.

    ``deviations`` is the sum of squared deviations from the mean; it is infinite when a value
    exceeds 1e140, and ``total`` when one exceeds 1e300. There may be 100,000 of them, so it is a
    struct: made in a tenth of the time.
    """

    series_id: int
    start_us: int
    count: int
    total: float
    deviations: float
    minimum: float
    maximum: float
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class SeriesStats:
    """Statistics over the non-text readings of one series in a period.

    The deviation is the population's. ``start_us`` and ``end_us`` are the instants of its first and
    last reading in the period. ``mean`` and ``stddev`` are infinite when a value exceeds 1e140.
    """

    series_id: int
    count: int
    minimum: float
    maximum: float
    mean: float
    stddev: float
    first: float
    last: float
    p50: float
    p95: float
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Some of one series' numeric readings in order of time, parallel lists: those that a chart
    needs."""

    series_id: int
    ts_us: list[int]
    value: list[float]


@dataclass(frozen=True, slots=True)
class StoreTotals:
    """How much the store holds; ``readings`` counts whatever came, less what was deleted."""

    series: int
    readings: int
    bytes_on_disk: int
    oldest_us: int | None
    newest_us: int | None


@dataclass(frozen=True, slots=True)
class StoreSizes:
    """How many readings stand in which form, and the bytes of what is packed there.

    Indexes, half-full pages and the intake log are in none of them.
    """

    sealed_readings: int
    sealed_bytes: int
    chunk_readings: int
    chunk_bytes: int
    rollup_bytes: int
