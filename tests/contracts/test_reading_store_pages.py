"""How readings come back in pages and streams, on every store."""

from collections.abc import Sequence

import pytest

from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, Order, PageKey, SeriesRow
from tests.contracts.reading_databases import ReadingStoreUnderTest
from tests.contracts.readings import (
    DAY_US,
    FOREVER,
    HOUR_US,
    MINUTE_US,
    NOON_US,
    SECOND_US,
    Given,
    append,
    everything,
    make_series,
    rows_of,
)

pytestmark = pytest.mark.anyio

ORDERS = [Order.NEWEST_FIRST, Order.OLDEST_FIRST]


def in_order(rows: Sequence[Given], order: Order) -> list[Given]:
    return sorted(
        rows,
        key=lambda row: (row.ts_us, row.series_id),
        reverse=order is Order.NEWEST_FIRST,
    )


async def pages_of(
    store: ReadingStoreUnderTest,
    series: Sequence[SeriesRow],
    *,
    order: Order,
    limit: int,
    start_us: int = 0,
    end_us: int = FOREVER["end_us"],
    anomaly: bool | None = None,
) -> list[Given]:
    """Follow the pages to the end."""
    found: list[Given] = []
    after: PageKey | None = None
    while True:
        block = await store.page(
            series,
            start_us=start_us,
            end_us=end_us,
            order=order,
            limit=limit,
            after=after,
            anomaly=anomaly,
        )
        found += rows_of(block)
        if len(block) < limit:
            return found
        after = PageKey(block.ts_us[-1], block.series_id[-1])


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_cover_everything_once_and_in_order(
    store: ReadingStoreUnderTest, order: Order
) -> None:
    series = await make_series(store, 3)
    given = [
        Given(row.id, NOON_US + at * 7 * SECOND_US, at / 3) for at in range(100) for row in series
    ]
    await append(store, given)

    for limit in (1_000, 300, 7):
        assert await pages_of(store, series, order=order, limit=limit) == in_order(given, order)


@pytest.mark.parametrize("order", ORDERS)
async def test_period_is_half_open(store: ReadingStoreUnderTest, order: Order) -> None:
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at) for at in range(10)]
    await append(store, given)

    found = await pages_of(
        store, [series], order=order, limit=4, start_us=NOON_US + 2, end_us=NOON_US + 7
    )

    assert found == in_order(given[2:7], order)
    assert await pages_of(store, [], order=order, limit=4) == []
    assert (
        await pages_of(
            store, [series], order=order, limit=4, start_us=NOON_US + 2, end_us=NOON_US + 2
        )
        == []
    )


@pytest.mark.parametrize("order", ORDERS)
async def test_long_silence_is_skipped(store: ReadingStoreUnderTest, order: Order) -> None:
    talker, quiet = await make_series(store, 2)
    given = [
        Given(quiet.id, NOON_US - days * DAY_US, float(days)) for days in (0, 1, 40, 400, 3_000)
    ]
    await append(store, given)
    await append(store, [Given(talker.id, NOON_US + at * HOUR_US) for at in range(200)])

    for limit in (100, 2):
        assert await pages_of(store, [quiet], order=order, limit=limit) == in_order(given, order)


@pytest.mark.parametrize("order", ORDERS)
async def test_many_series_among_others(store: ReadingStoreUnderTest, order: Order) -> None:
    series = await make_series(store, 250)
    others = await make_series(store, 250, device_id="other")
    given = [
        Given(row.id, NOON_US + turn * 20 * MINUTE_US + at, float(at))
        for turn in range(4)
        for at, row in enumerate(series)
    ]
    late = [Given(row.id, NOON_US - DAY_US + row.id, 1.0) for row in series[::50]]
    await append(store, [*given, *late])
    await append(store, [row._replace(series_id=row.series_id + 250) for row in given])

    found = await pages_of(store, series, order=order, limit=130)

    assert found == in_order([*given, *late], order)
    assert {row.id for row in others}.isdisjoint(row.series_id for row in found)


@pytest.mark.parametrize("order", ORDERS)
async def test_anomalies_are_found_by_themselves(
    store: ReadingStoreUnderTest, order: Order
) -> None:
    series = await make_series(store, 2)
    given = [
        Given(
            series[at % 2].id,
            NOON_US + at * 11 * HOUR_US,
            float(at),
            flags=FLAG_ANOMALY if at % 10 == 0 else 0,
            score=8.5 if at % 10 == 0 else None,
        )
        for at in range(200)
    ]
    await append(store, given)

    for limit in (100, 3):
        for anomaly in (True, False):
            found = await pages_of(store, series, order=order, limit=limit, anomaly=anomaly)
            assert found == in_order([r for r in given if bool(r.flags) == anomaly], order)


async def test_stream_yields_blocks_oldest_first(store: ReadingStoreUnderTest) -> None:
    series = await make_series(store, 2)
    given = [Given(series[at % 2].id, NOON_US + at * MINUTE_US, at / 7) for at in range(100)]
    await append(store, given)

    blocks = [
        rows_of(block)
        async for block in store.stream(
            series, start_us=NOON_US + MINUTE_US, end_us=NOON_US + DAY_US, rows_max=33
        )
    ]

    assert [len(block) for block in blocks] == [33, 33, 33]
    assert [row for block in blocks for row in block] == given[1:]


async def test_late_readings_take_their_place(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    late = Given(series.id, NOON_US - 30 * DAY_US, 1.0)
    await append(store, [Given(series.id, NOON_US, 2.0)])

    assert await append(store, [late]) is None

    assert await everything(store, [series]) == [late, Given(series.id, NOON_US, 2.0)]
