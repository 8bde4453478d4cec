"""Sealing in the contract suites: when it is due, and how much of it there is."""

from dataclasses import replace
from pathlib import Path

import asyncpg

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.store.sealing import SealLimits
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.store_insides import failing_write
from tests.stored_readings import rows_in

SMALL_SLICES = SealLimits(
    age_hours=2,
    hours_together=1,
    hours_per_slice=4,
    series_per_slice=2,
    chunks_per_slice=3,
    readings_per_slice=12,
)
HOURS_UNTIL_SEALED = 1_000.0


async def seal_all(store: ReadingStoreUnderTest) -> int:
    """Seal whatever is due, slice by slice; return how many readings that were."""
    sealed = 0
    while moved := await store.seal_slice():
        sealed += moved
    return sealed
