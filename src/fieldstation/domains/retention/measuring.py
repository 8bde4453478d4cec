"""Measures what an organization's readings take, kind by kind of what is kept."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fieldstation.domains.retention.policies import ALL, US_PER_DAY, Kept, Policy, cutoffs
from fieldstation.domains.telemetry.ports import ReadingStore, SeriesRow
from fieldstation.domains.telemetry.sizing import SeriesSizes

SAMPLE_MAX = 200
"""Series of one kind that are measured; the others are taken to be alike."""
RECENT_DAYS = 7
DAYS_MIN = 1 / 24


@dataclass(frozen=True, slots=True)
class Measured:
    """The series that are kept equally long: what they take, how many days passed since their
    oldest reading and rollup, and what a day brings."""

    kept: Kept
    series: int
    readings: float
    raw_bytes: float
    raw_days: float
    rollup_bytes: float
    rollup_days: float
    readings_per_day: float
    rollup_bytes_per_day: float

    @property
    def raw_bytes_per_day(self) -> float:
        return self.readings_per_day * self.raw_bytes / self.readings if self.readings else 0.0


async def measure(
    store: ReadingStore, policy: Policy, organization_id: str, *, now_us: int
) -> list[Measured]:
    """Measure each kind by ``SAMPLE_MAX`` series of it.

    Cost: the organization's series, then the keys of all that is stored of at most 200 of each
    kind, twice. Raises ``Busy``.
    """
    found: list[Measured] = []
    for kept, series_ids in (await by_kept(store, policy, organization_id)).items():
        sample, scale = sampled(series_ids)
        recent_us = now_us - RECENT_DAYS * US_PER_DAY
        whole = await store.sizes_of(sample, raw_before_us=None, rollups_before_us=None)
        old = await store.sizes_of(sample, raw_before_us=recent_us, rollups_before_us=recent_us)
        found.append(measured(kept, len(series_ids), whole, old, now_us=now_us, scale=scale))
    return found


def measured(
    kept: Kept,
    series: int,
    whole: SeriesSizes,
    old: SeriesSizes,
    *,
    now_us: int,
    scale: float,
) -> Measured:
    """Take together what a sample has and what of it is older than the recent days."""
    raw_days, rollup_days = (
        days_since(oldest_us, now_us) for oldest_us in (whole.oldest_us, whole.oldest_rollup_us)
    )
    return Measured(
        kept,
        series,
        readings=whole.readings * scale,
        raw_bytes=whole.raw_bytes * scale,
        raw_days=raw_days,
        rollup_bytes=whole.rollup_bytes * scale,
        rollup_days=rollup_days,
        readings_per_day=(whole.readings - old.readings) * scale / min(raw_days, RECENT_DAYS),
        rollup_bytes_per_day=(whole.rollup_bytes - old.rollup_bytes)
        * scale
        / min(rollup_days, RECENT_DAYS),
    )


def days_since(oldest_us: int | None, now_us: int) -> float:
    """Return for how many days something was stored, never less than an hour."""
    since_us = now_us if oldest_us is None else oldest_us
    return max(DAYS_MIN, (now_us - since_us) / US_PER_DAY)


async def measure_removal(
    store: ReadingStore, policy: Policy, organization_id: str, *, at_us: int
) -> SeriesSizes:
    """Estimate what is too old at an instant, as ``measure`` does. Raises ``Busy``."""
    series = readings = raw_bytes = rollup_bytes = 0.0
    for kept, series_ids in (await by_kept(store, policy, organization_id)).items():
        before = cutoffs(kept, at_us)
        if before == ALL:
            continue
        sample, scale = sampled(series_ids)
        old = await store.sizes_of(
            sample,
            raw_before_us=before.raw_before_us or 0,
            rollups_before_us=before.rollups_before_us or 0,
        )
        series += old.series * scale
        readings += old.readings * scale
        raw_bytes += old.raw_bytes * scale
        rollup_bytes += old.rollup_bytes * scale
    return SeriesSizes(round(series), round(readings), round(raw_bytes), round(rollup_bytes))


async def by_kept(
    store: ReadingStore, policy: Policy, organization_id: str
) -> Mapping[Kept, list[int]]:
    """Sort an organization's series by what holds for them. Raises ``Busy``."""
    series = await store.find_series(organization_id)
    return await asyncio.to_thread(sort_series, policy, series)


def sort_series(policy: Policy, series: Iterable[SeriesRow]) -> Mapping[Kept, list[int]]:
    found: defaultdict[Kept, list[int]] = defaultdict(list)
    for row in series:
        found[policy.kept(row.key.device_id, row.key.sensor_type)].append(row.id)
    return found


def sampled(series_ids: list[int]) -> tuple[list[int], float]:
    """Return some of the series from all over, and for how many each of them stands."""
    step = -(-len(series_ids) // SAMPLE_MAX)
    sample = series_ids[::step]
    return sample, len(series_ids) / len(sample)
