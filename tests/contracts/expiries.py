"""Retention in the contract suites: what is wanted gone, and what a database says of it."""

import math
from collections.abc import Sequence
from typing import Any

from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, SeriesRow
from fieldstation.domains.telemetry.store.expiry import ExpiryLimits
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import HOUR_US, Given
from tests.contracts.store_insides import rows_in

SLICES_MAX = 10_000
SMALL_EXPIRIES = ExpiryLimits(
    series_per_slice=2,
    chunks_per_slice=3,
    sealed_per_slice=2,
    details_per_slice=2,
    rollups_per_slice=3,
)


async def expire(
    store: ReadingStoreUnderTest,
    series: Sequence[SeriesRow],
    raw_before_us: int | None,
    rollups_before_us: int | None = None,
) -> int:
    """Delete slice by slice; return how many slices that were."""
    ids = [row.id for row in series]
    for slices in range(SLICES_MAX):
        if not await store.expire_slice(
            ids, raw_before_us=raw_before_us, rollups_before_us=rollups_before_us
        ):
            return slices
    raise AssertionError("the deletion never ends")


async def floors_in(database: ReadingDatabase) -> dict[int, int]:
    """Return the instant from which on the readings of each series are kept."""
    rows = await rows_in(database, "SELECT id, raw_from_hour FROM series")
    return {series_id: hour * HOUR_US for series_id, hour in rows}


def same(found: Any, expected: Any, share: float = 1e-9) -> bool:
    """Compare answers: percentiles within a hundredth, sums but for their last digits."""
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(found, int | float):
        return math.isclose(found, expected, rel_tol=share, abs_tol=share)
    return all(
        same(
            getattr(found, name),
            getattr(expected, name),
            0.0101 if name in {"p50", "p95"} else share,
        )
        for name in type(found).__slots__
    )


def odd(given: Sequence[Given]) -> list[Given]:
    """Make every seventh reading one with details: an anomaly, a text or metadata."""
    rows = list(given)
    for at in range(0, len(rows), 7):
        rows[at] = [
            rows[at]._replace(flags=FLAG_ANOMALY, score=at / 7),
            rows[at]._replace(value=0.0, text=f"state {at}"),
            rows[at]._replace(metadata=b'{"battery":3.1}'),
        ][at % 3]
    return rows


def is_odd(row: Given) -> bool:
    return (row.text, row.metadata, row.score) != (None, None, None)
