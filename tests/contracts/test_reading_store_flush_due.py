"""When a flush takes place, on every store: by amount, by time, and at the latest when memory is
full."""

import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Outcome
from fieldstation.domains.telemetry.store.flushing import FlushLimits
from tests.contracts.reading_databases import ReadingDatabase
from tests.contracts.readings import NOON_US, Given, append, everything, make_refusal, make_series
from tests.contracts.readings import columns as columns_of
from tests.contracts.store_insides import failing_write, held, stored_in
from tests.stored_readings import Stored

pytestmark = pytest.mark.anyio

INTERVAL_S = FlushLimits().interval_us / 1_000_000


def numbered(series_id: int, first: int, end: int) -> list[Given]:
    return [Given(series_id, NOON_US + at, at / 3) for at in range(first, end)]


async def test_little_waits_until_the_time_has_passed(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    await append(store, numbered(series.id, 0, 5))

    await store.flush_due()
    database.clock.advance(INTERVAL_S - 1)
    await store.flush_due()
    assert held(store) == 5

    database.clock.advance(1)
    await store.flush_due()
    assert held(store) == 0
    assert await everything(store, [series]) == numbered(series.id, 0, 5)


async def test_the_time_counts_from_the_first_reading_behind_a_flush(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    await append(store, numbered(series.id, 0, 5))
    database.clock.advance(INTERVAL_S)
    await store.flush_due()
    database.clock.advance(INTERVAL_S - 1)
    await store.flush_due()
    await append(store, numbered(series.id, 5, 9))

    database.clock.advance(INTERVAL_S - 1)
    await store.flush_due()
    assert held(store) == 4

    database.clock.advance(1)
    await store.flush_due()
    assert held(store) == 0


async def test_a_silent_store_flushes_nothing(database: ReadingDatabase) -> None:
    store = await database.open()
    database.clock.advance(3 * INTERVAL_S)

    with failing_write(store, 0):
        await store.flush_due()

    assert held(store) == 0


async def test_much_is_flushed_at_once(database: ReadingDatabase) -> None:
    database.flush_limits = FlushLimits(readings=10)
    store = await database.open()
    (series,) = await make_series(store, 1)
    await append(store, numbered(series.id, 0, 9))
    await store.flush_due()
    assert held(store) == 9

    await append(store, numbered(series.id, 9, 10))
    await store.flush_due()

    assert held(store) == 0
    assert await everything(store, [series]) == numbered(series.id, 0, 10)


async def test_a_flush_that_failed_is_still_due(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    await append(store, numbered(series.id, 0, 5))
    database.clock.advance(INTERVAL_S)
    with failing_write(store, 1), pytest.raises(Busy):
        await store.flush_due()
    assert held(store) == 5

    await store.flush_due()

    assert held(store) == 0
    assert await stored_in(database) == [Stored(*row[:3]) for row in numbered(series.id, 0, 5)]


async def test_an_append_that_meets_full_memory_flushes_first(database: ReadingDatabase) -> None:
    database.flush_limits = FlushLimits(recent_readings_max=10)
    store = await database.open()
    (series,) = await make_series(store, 1)
    await append(store, numbered(series.id, 0, 9))
    await append(store, numbered(series.id, 9, 12))
    assert held(store) == 12

    assert await append(store, numbered(series.id, 12, 14)) is None

    assert held(store) == 2
    assert await everything(store, [series]) == numbered(series.id, 0, 14)


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_an_append_that_cannot_flush_full_memory_stores_nothing(
    database: ReadingDatabase, number: int
) -> None:
    database.flush_limits = FlushLimits(recent_readings_max=10)
    store = await database.open()
    (series,) = await make_series(store, 1)
    kept, refused = numbered(series.id, 0, 10), numbered(series.id, 10, 12)
    await append(store, kept)

    for _ in range(3):
        with failing_write(store, number), pytest.raises(Busy):
            await store.append(columns_of(refused), refusals=[make_refusal(1)])
    assert await everything(store, [series]) == kept
    assert await store.log_bounds() == {"node-a": (1, 1)}
    assert await store.refusals("org", "device", limit=9) == []
    assert await stored_in(database) == [Stored(*row[:3]) for row in kept]

    assert await append(store, [*refused, kept[0]]) == bytes([0, 0, Outcome.DUPLICATE])
    assert held(store) == 2
    assert await everything(store, [series]) == [*kept, *refused]
