"""A deleted device stays deleted, on every store, wherever its readings were."""

from contextlib import suppress

import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, SeriesRow
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import HOUR_US, NOON_US, Given, append, everything, make_series
from tests.contracts.store_insides import failing_write, held, stored_in
from tests.stored_readings import Stored

pytestmark = pytest.mark.anyio


async def two_devices(store: ReadingStoreUnderTest) -> tuple[SeriesRow, SeriesRow]:
    """Return a series of a device that is going to be deleted and one that stays."""
    (gone,) = await make_series(store, 1, device_id="gone")
    (stays,) = await make_series(store, 1, device_id="stays")
    return gone, stays


def hourly(*series: SeriesRow, first: int = 0, count: int = 4) -> list[Given]:
    return [
        Given(row.id, NOON_US + at * HOUR_US, at / 3, flags=FLAG_ANOMALY, score=1.5)
        for at in range(first, first + count)
        for row in series
    ]


def as_stored(rows: list[Given]) -> list[Stored]:
    return [Stored(*row[:3]) for row in rows]


async def test_a_deleted_device_is_gone_from_memory_and_from_chunks(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))

    await store.delete_device("org", "gone")

    assert await everything(store, [gone]) == []
    assert await everything(store, [stays]) == hourly(stays)
    assert held(store) == 0, "a deletion begins with a flush"
    assert (await store.totals()).readings == 4
    await store.flush()
    assert await everything(store, [gone, stays]) == hourly(stays)
    assert (await store.totals()).readings == 4
    assert await stored_in(database) == as_stored(hourly(stays))


async def test_a_device_deleted_between_two_flushes_is_gone_from_both(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))
    await store.flush()
    await append(store, hourly(gone, stays, first=4))

    await store.delete_device("org", "gone")
    await store.flush()

    assert await everything(store, [gone, stays]) == hourly(stays, count=8)
    assert (await store.totals()).readings == 8
    assert await stored_in(database) == as_stored(hourly(stays, count=8))


@pytest.mark.parametrize("number", range(5))
async def test_a_device_deleted_after_a_flush_that_failed_is_gone(
    database: ReadingDatabase, number: int
) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))
    with failing_write(store, number), suppress(Busy):
        await store.flush()

    await store.delete_device("org", "gone")

    assert await everything(store, [gone, stays]) == hourly(stays)
    await store.flush()
    assert await everything(store, [gone, stays]) == hourly(stays)
    assert await stored_in(database) == as_stored(hourly(stays))


@pytest.mark.parametrize("number", [2, 3])
async def test_readings_deleted_after_a_flush_that_failed_count_once(
    database: ReadingDatabase, number: int
) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))
    with failing_write(store, number), suppress(Busy):
        await store.flush()

    await store.delete_device("org", "gone")

    assert (await store.totals()).readings == 4


@pytest.mark.parametrize("flushes", [False, True])
async def test_a_deleted_device_does_not_come_back_with_a_start(
    database: ReadingDatabase, flushes: bool
) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))
    await store.delete_device("org", "gone")
    if flushes:
        await store.flush()
    await store.close()

    store = await database.open()

    assert await store.find_series("org", device_ids=["gone"]) == []
    assert (await store.totals()).readings == 4
    (reborn,) = await make_series(store, 1, device_id="gone")
    assert reborn.last_us is None
    assert await everything(store, [reborn, stays]) == hourly(stays)
    await store.flush()
    assert await everything(store, [gone, reborn, stays]) == hourly(stays)
    assert await stored_in(database) == as_stored(hourly(stays))


async def test_deleted_readings_are_not_in_memory_after_a_start(database: ReadingDatabase) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, [*hourly(gone, count=9), *hourly(stays)])
    await store.delete_device("org", "gone")
    await store.close()

    store = await database.open()

    assert await everything(store, [gone]) == []
    assert (await store.totals()).newest_us == NOON_US + 3 * HOUR_US


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("flushes", [False, True])
async def test_a_deletion_that_failed_goes_on_where_it_stopped(
    database: ReadingDatabase, number: int, flushes: bool
) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))
    if flushes:
        await store.flush()
    with failing_write(store, number), suppress(Busy):
        await store.delete_device("org", "gone")

    await store.delete_device("org", "gone")

    assert await store.find_series("org", device_ids=["gone"]) == []
    assert await everything(store, [gone, stays]) == hourly(stays)
    await store.flush()
    assert await stored_in(database) == as_stored(hourly(stays))


async def test_a_deletion_whose_count_failed_counts_all_the_same(database: ReadingDatabase) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))
    with failing_write(store, 0), pytest.raises(Busy):
        await store.delete_device("org", "gone")

    await store.delete_device("org", "gone")

    assert (await store.totals()).readings == 4


@pytest.mark.parametrize("number", [1, 2])
async def test_a_deletion_that_goes_on_after_a_start_counts_once(
    database: ReadingDatabase, number: int
) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))
    with failing_write(store, number), pytest.raises(Busy):
        await store.delete_device("org", "gone")
    await store.close()

    store = await database.open()
    await store.delete_device("org", "gone")

    assert (await store.totals()).readings == 4


async def test_totals_count_through_everything(database: ReadingDatabase) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await append(store, hourly(gone, stays))
    await append(store, hourly(gone, stays, count=5))
    assert (await store.totals()).readings == 10

    await store.flush()
    assert (await store.totals()).readings == 10
    await append(store, hourly(gone, stays, count=6))
    await store.delete_device("org", "gone")

    totals = await store.totals()
    assert (totals.series, totals.readings) == (1, 6)
    assert (totals.oldest_us, totals.newest_us) == (NOON_US, NOON_US + 5 * HOUR_US)
