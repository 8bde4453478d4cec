"""Sealing in the contract suites: in slices so small that a few readings make many of them."""

from collections.abc import Sequence
from itertools import pairwise

from fieldstation.domains.telemetry.store.sealing import SealLimits
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.store_insides import rows_in

AT_ONCE = SealLimits(age_hours=-10_000)
"""Seals whatever is in chunks, also what is ahead of the tests' clock."""
SMALL_SLICES = SealLimits(
    age_hours=-10_000,
    hours_together=1,
    hours_per_slice=4,
    series_per_slice=2,
    chunks_per_slice=3,
    readings_per_slice=12,
)


async def seal_all(store: ReadingStoreUnderTest) -> int:
    """Seal whatever is due, slice by slice; return how many readings that were."""
    sealed = 0
    while moved := await store.seal_slice():
        sealed += moved
    return sealed


async def in_chunks(database: ReadingDatabase) -> int:
    """Return how many readings stand in ordinary chunks."""
    ((count,),) = await rows_in(database, "SELECT COALESCE(SUM(count), 0) FROM chunk")
    return int(count)


async def sealed_counts(database: ReadingDatabase) -> list[int]:
    """Return how many readings each sealed chunk holds, by series and time."""
    rows = await rows_in(database, "SELECT count FROM sealed ORDER BY series_id, start_us")
    return [count for (count,) in rows]


async def demand_sealed_apart(database: ReadingDatabase) -> None:
    """Demand that no two sealed chunks of a series overlap, and that hours without chunks are
    forgotten: searches rely on the one, and small tables on the other."""
    rows: Sequence[tuple[int, int, int]] = await rows_in(
        database, "SELECT series_id, start_us, end_us FROM sealed ORDER BY series_id, start_us"
    )
    assert all(one[0] != other[0] or one[2] < other[1] for one, other in pairwise(rows)), (
        "sealed chunks of one series overlap"
    )
    hours = await rows_in(database, "SELECT series_id, hour FROM series_hour")
    chunks = await rows_in(database, "SELECT DISTINCT series_id, hour FROM chunk")
    assert sorted(hours) == sorted(chunks)
