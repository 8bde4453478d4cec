"""Sealing changes no answer, on every store, and leaves few rows."""

from collections.abc import Sequence

import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, Order, Outcome, SeriesRow
from fieldstation.domains.telemetry.store.compression import READINGS_MAX
from fieldstation.domains.telemetry.store.sealing import SealLimits
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    NOON_US,
    SECOND_US,
    Given,
    append,
    everything,
    make_series,
)
from tests.contracts.seals import (
    AT_ONCE,
    SMALL_SLICES,
    demand_sealed_apart,
    in_chunks,
    seal_all,
    sealed_counts,
)
from tests.contracts.store_insides import failing_write, rows_in, stored_in
from tests.contracts.test_reading_store_flush import ORDERS, answers, as_stored, varied
from tests.contracts.test_reading_store_pages import in_order, pages_of

pytestmark = pytest.mark.anyio

DUPLICATE, CONFLICT = Outcome.DUPLICATE, Outcome.CONFLICT


async def keep(store: ReadingStoreUnderTest, rows: Sequence[Given]) -> None:
    """Append and flush."""
    assert await append(store, rows) is None
    await store.flush()


def steady(series: SeriesRow, count: int, *, since_us: int = NOON_US, step_us: int = SECOND_US):
    """Make readings of one series at regular instants, with one decimal."""
    return [Given(series.id, since_us + at * step_us, (at % 50) / 10) for at in range(count)]


@pytest.mark.parametrize("limits", [AT_ONCE, SMALL_SLICES], ids=["at once", "small slices"])
async def test_answers_are_the_same_before_and_after_sealing(
    database: ReadingDatabase, limits: SealLimits
) -> None:
    database.seal_limits = limits
    store = await database.open()
    series = await make_series(store, 3)
    given = varied(series, count=60)
    await keep(store, given[::2])
    await append(store, given[1::2])
    await store.flush()
    before = await answers(store, series)

    assert await seal_all(store) == len(given)

    assert await everything(store, series) == given
    assert await answers(store, series) == before
    assert await stored_in(database) == as_stored(given)
    assert await in_chunks(database) == 0
    await demand_sealed_apart(database)
    await store.close()
    assert await answers(await database.open(), series) == before


async def test_nothing_to_seal_changes_nothing(store: ReadingStoreUnderTest) -> None:
    assert await store.seal_slice() == 0


async def test_hours_are_sealed_once_they_lie_back(database: ReadingDatabase) -> None:
    database.seal_limits = SealLimits(age_hours=2, hours_together=3)
    store = await database.open()
    (series,) = await make_series(store, 1)
    # The clock says noon, and noon is where three hours end.
    since = NOON_US - 7 * HOUR_US
    given = steady(series, 7, since_us=since, step_us=HOUR_US)
    await keep(store, given)

    assert await seal_all(store) == 4, "those from five to eight o'clock"
    assert await in_chunks(database) == 3

    database.clock.advance(2 * 3600 - 1)
    assert await seal_all(store) == 0
    database.clock.advance(1)
    assert await seal_all(store) == 3
    assert await everything(store, [series]) == given


async def test_sealed_chunks_are_as_large_as_they_may_be(database: ReadingDatabase) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = steady(series, 3 * READINGS_MAX + 1)
    await keep(store, given)

    await seal_all(store)

    counts = await sealed_counts(database)
    assert (len(counts), sum(counts)) == (4, len(given))
    assert max(counts) - min(counts) <= 1
    assert await everything(store, [series]) == given


async def test_a_series_that_reports_seldom_does_not_keep_a_row_an_hour(
    database: ReadingDatabase,
) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    series = await make_series(store, 2)
    given: list[Given] = []
    for hour in range(30):
        rows = [Given(one.id, NOON_US + hour * HOUR_US, hour / 10) for one in series]
        given += rows
        await keep(store, rows)
        await seal_all(store)

    assert await sealed_counts(database) == [30, 30]
    assert await rows_in(database, "SELECT * FROM series_hour") == []
    assert await everything(store, series) == given


async def test_readings_that_come_newest_first_grow_together_as_well(
    database: ReadingDatabase,
) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    (series,) = await make_series(store, 1)
    for day in reversed(range(12)):
        await keep(store, [Given(series.id, NOON_US + day * DAY_US, day / 10)])
        await seal_all(store)

    assert await sealed_counts(database) == [12]


async def test_late_readings_divide_a_full_sealed_chunk(database: ReadingDatabase) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = steady(series, READINGS_MAX)
    await keep(store, given)
    await seal_all(store)
    assert await sealed_counts(database) == [READINGS_MAX]
    late = [Given(series.id, NOON_US + 100 * SECOND_US + 1, 7.25)]

    await keep(store, late)
    assert await everything(store, [series]) == in_order([*given, *late], Order.OLDEST_FIRST)
    await seal_all(store)

    assert await sealed_counts(database) == [READINGS_MAX // 2, READINGS_MAX // 2 + 1]
    assert await everything(store, [series]) == in_order([*given, *late], Order.OLDEST_FIRST)
    await demand_sealed_apart(database)


async def test_late_readings_leave_the_full_chunks_beside_them_alone(
    database: ReadingDatabase,
) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    (series,) = await make_series(store, 1)
    first = steady(series, READINGS_MAX)
    third = steady(series, READINGS_MAX, since_us=NOON_US + 50 * HOUR_US)
    await keep(store, first + third)
    await seal_all(store)
    before = await rows_in(database, "SELECT start_us, end_us, data FROM sealed")

    second = [Given(series.id, NOON_US + 20 * HOUR_US, 1.5)]
    await keep(store, second)
    await seal_all(store)

    after = await rows_in(database, "SELECT start_us, end_us, data FROM sealed")
    assert set(before) <= set(after)
    assert len(after) == 3
    assert await everything(store, [series]) == [*first, *second, *third]


@pytest.mark.parametrize("reopens", [False, True])
async def test_readings_are_judged_by_what_is_sealed(
    database: ReadingDatabase, reopens: bool
) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    (series,) = await make_series(store, 1)
    number = Given(series.id, NOON_US, 0.5)
    zero = Given(series.id, NOON_US + MINUTE_US, -0.0)
    text = Given(series.id, NOON_US + HOUR_US, text="open")
    noted = Given(series.id, NOON_US + 2 * HOUR_US, 1.5, metadata=b"{}", score=2.0)
    await keep(store, [number, zero, text, noted])
    await seal_all(store)
    if reopens:
        await store.close()
        store = await database.open()
    late = Given(series.id, NOON_US + 1, 7.0)

    batch = [number, number._replace(value=0.25), text, text._replace(text="closed"), noted, late]
    outcomes = await append(store, batch)

    assert outcomes == bytes([DUPLICATE, CONFLICT] * 2 + [DUPLICATE, Outcome.ACCEPTED])
    await store.flush()
    await seal_all(store)
    assert await append(store, batch) == bytes([DUPLICATE, CONFLICT] * 2 + [DUPLICATE] * 2)
    assert await everything(store, [series]) == [number, late, zero, text, noted]
    assert str((await everything(store, [series]))[2].value) == "-0.0"
    assert (await make_series(store, 1))[0].last_us == noted.ts_us


async def test_a_newer_reading_in_chunks_is_the_newest_and_so_is_a_sealed_one(
    database: ReadingDatabase,
) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    (series,) = await make_series(store, 1)
    await keep(store, [Given(series.id, NOON_US + HOUR_US, 1.0)])
    await seal_all(store)
    await keep(store, [Given(series.id, NOON_US, 2.0)])

    assert (await make_series(store, 1))[0].last_us == NOON_US + HOUR_US
    await keep(store, [Given(series.id, NOON_US + 2 * HOUR_US, 3.0)])
    assert (await make_series(store, 1))[0].last_us == NOON_US + 2 * HOUR_US


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_bring_together_memory_chunks_and_what_is_sealed(
    database: ReadingDatabase, order: Order
) -> None:
    database.seal_limits = SMALL_SLICES
    store = await database.open()
    series = await make_series(store, 3)
    given = varied(series, count=80)
    given += [row._replace(ts_us=row.ts_us + 400 * DAY_US) for row in given[:10]]
    await keep(store, given[::4])
    await seal_all(store)
    await keep(store, given[1::4])
    await store.seal_slice()
    await keep(store, given[2::4])
    await append(store, given[3::4])
    assert await in_chunks(database) > 0
    assert await sealed_counts(database)

    for limit in (200, 7):
        assert await pages_of(store, series, order=order, limit=limit) == in_order(given, order)
        anomalies = await pages_of(store, series, order=order, limit=limit, anomaly=True)
        assert anomalies == in_order([row for row in given if row.flags & FLAG_ANOMALY], order)


async def test_pages_of_very_many_series_see_what_is_sealed(database: ReadingDatabase) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    series = await make_series(store, 300)
    given = [Given(one.id, NOON_US + one.id, 1.5) for one in series]
    await keep(store, given)
    await seal_all(store)

    assert await everything(store, series) == in_order(given, Order.OLDEST_FIRST)
    later = Given(series[0].id, NOON_US + 30 * DAY_US, 2.5)
    await append(store, [later])
    page = await store.page(
        series, start_us=NOON_US + DAY_US, end_us=1 << 53, order=Order.OLDEST_FIRST, limit=5
    )
    assert page.ts_us == [later.ts_us]


async def test_a_slice_takes_no_more_than_its_limits(database: ReadingDatabase) -> None:
    database.seal_limits = SealLimits(
        age_hours=-10_000, hours_together=1, chunks_per_slice=5, readings_per_slice=30
    )
    store = await database.open()
    series = await make_series(store, 4)
    given = [
        Given(one.id, NOON_US + hour * HOUR_US + at, at / 10)
        for one in series
        for hour in range(6)
        for at in range(hour + 1)
    ]
    await keep(store, given)

    moved: list[int] = []
    while sealed := await store.seal_slice():
        moved.append(sealed)

    assert sum(moved) == len(given)
    assert max(moved) <= 30
    assert len(moved) >= len(series) * 6 / 5
    assert await everything(store, series) == in_order(given, Order.OLDEST_FIRST)


async def test_one_chunk_that_exceeds_the_limit_is_sealed_all_the_same(
    database: ReadingDatabase,
) -> None:
    database.seal_limits = SealLimits(age_hours=-10_000, readings_per_slice=10)
    store = await database.open()
    (series,) = await make_series(store, 1)
    await keep(store, steady(series, 50))

    assert await store.seal_slice() == 50


async def test_nothing_is_sealed_while_a_flush_has_not_reached_its_end(
    database: ReadingDatabase,
) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = steady(series, 5)
    await append(store, given)
    with failing_write(store, 2), pytest.raises(Busy):
        await store.flush()

    sealed = await store.seal_slice()

    # PostgreSQL's store finishes what a flush left as soon as it may flush.
    assert sealed == (0 if database.kind == "sqlite" else 5)
    await store.flush()
    await seal_all(store)
    assert await stored_in(database) == as_stored(given)
    assert (await store.totals()).readings == 5
