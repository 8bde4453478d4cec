"""What series take: the same on every database, before and after sealing, and of a part of it."""

import pytest

from fieldstation.domains.telemetry.sizing import SeriesSizes
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import DAY_US, HOUR_US, NOON_US, Given, append, make_series
from tests.contracts.seals import AT_ONCE, seal_all
from tests.contracts.store_insides import rows_in

pytestmark = pytest.mark.anyio

MIDNIGHT_US = NOON_US - 12 * HOUR_US
DAYS = 40


async def filled(database: ReadingDatabase) -> ReadingStoreUnderTest:
    """Give a store forty days with a reading an hour of each of two series, and one of another."""
    database.seal_limits = AT_ONCE
    store = await database.open()
    first, second = await make_series(store, 2)
    (other,) = await make_series(store, 1, device_id="other")
    hours = range(24 * DAYS)
    await append(
        store,
        [
            Given(row.id, MIDNIGHT_US + (at - 24 * DAYS) * HOUR_US, float(at % 7))
            for row in (first, second)
            for at in hours
        ],
    )
    await append(store, [Given(other.id, MIDNIGHT_US, 1.0)])
    await store.flush()
    return store


async def sizes(
    store: ReadingStoreUnderTest,
    ids: list[int],
    raw_before_us: int | None = None,
    rollups_before_us: int | None = None,
) -> SeriesSizes:
    return await store.sizes_of(
        ids, raw_before_us=raw_before_us, rollups_before_us=rollups_before_us
    )


async def test_readings_count_with_the_bytes_that_hold_them(database: ReadingDatabase) -> None:
    store = await filled(database)

    found = await sizes(store, [1, 2])

    ((stored,),) = await rows_in(
        database, "SELECT SUM(LENGTH(data)) FROM chunk WHERE series_id IN (1, 2)"
    )
    assert (found.series, found.readings, found.raw_bytes) == (2, 48 * DAYS, stored)
    assert found.oldest_us == MIDNIGHT_US - DAYS * DAY_US
    assert (await sizes(store, [3])).readings == 1
    assert await sizes(store, [99]) == SeriesSizes(0, 0, 0, 0)


@pytest.mark.parametrize("are_sealed", [False, True])
async def test_of_before_an_instant_counts_what_is_older(
    database: ReadingDatabase, are_sealed: bool
) -> None:
    store = await filled(database)
    if are_sealed:
        assert await seal_all(store) == 48 * DAYS + 1
    whole = await sizes(store, [1, 2])

    half = await sizes(store, [1, 2], MIDNIGHT_US - DAYS // 2 * DAY_US)

    assert half.readings == pytest.approx(24 * DAYS, abs=2)
    assert half.raw_bytes == pytest.approx(whole.raw_bytes / 2, rel=0.02)
    none = await sizes(store, [1, 2], MIDNIGHT_US - DAYS * DAY_US, 0)
    assert none == SeriesSizes(0, 0, 0, 0)


async def test_rollups_count_apart_by_their_own_instant(database: ReadingDatabase) -> None:
    store = await filled(database)
    while await store.roll_up(before_us=NOON_US):
        pass

    whole = await sizes(store, [1, 2])
    half = await sizes(store, [1, 2], None, MIDNIGHT_US - DAYS // 2 * DAY_US)

    ((stored,),) = await rows_in(
        database,
        "SELECT SUM(LENGTH(data) + COALESCE(LENGTH(sketches), 0)) FROM rollup"
        " WHERE series_id IN (1, 2)",
    )
    assert whole.rollup_bytes == stored > 0
    assert half.rollup_bytes == pytest.approx(float(stored) / 2, rel=0.15)
    assert half.readings == whole.readings
    assert whole.oldest_rollup_us is not None
    assert whole.oldest_rollup_us <= MIDNIGHT_US - DAYS * DAY_US
