"""A flush changes no answer, on every store: before it, wherever it fails, and after it."""

from collections.abc import Sequence
from typing import Any

import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, Order, Outcome, SeriesRow
from fieldstation.domains.telemetry.store.flushing import FlushLimits
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    FOREVER,
    HOUR_US,
    MINUTE_US,
    NOON_US,
    SECOND_US,
    Given,
    append,
    everything,
    make_series,
)
from tests.contracts.store_insides import failing_write, held, stored_in
from tests.contracts.test_reading_store_model import Model, compare
from tests.contracts.test_reading_store_pages import in_order, pages_of
from tests.stored_readings import Stored

pytestmark = pytest.mark.anyio

DUPLICATE, CONFLICT = Outcome.DUPLICATE, Outcome.CONFLICT
ORDERS = [Order.NEWEST_FIRST, Order.OLDEST_FIRST]
WRITES_MIN = 6
"""Of a flush in many slices: its beginning, chunks, details and its end."""


def varied(series: Sequence[SeriesRow], *, since_us: int = NOON_US, count: int = 24) -> list[Given]:
    """Make readings over some hours: numbers, texts, anomalies and metadata."""
    rows: list[Given] = []
    for at in range(count):
        plain = Given(series[at % len(series)].id, since_us + at * 11 * MINUTE_US, at / 3)
        rows.append(
            [
                plain,
                plain._replace(flags=FLAG_ANOMALY, score=at / 7),
                plain._replace(value=0.0, text=f"state {at}"),
                plain._replace(metadata=b'{"battery":3.1}'),
            ][at % 4]
        )
    return rows


def as_stored(rows: Sequence[Given] | Model) -> list[Stored]:
    """Return what the database itself should hold, each reading once."""
    rows = list(rows.stands.values()) if isinstance(rows, Model) else rows
    return sorted(Stored(row.series_id, row.ts_us, row.value) for row in rows)


async def answers(store: ReadingStoreUnderTest, series: Sequence[SeriesRow]) -> list[Any]:
    """Ask everything that a store can be asked about readings."""
    blocks = [block async for block in store.stream(series, **FOREVER, rows_max=5)]
    pages = [
        await store.page(series, **FOREVER, order=order, limit=9, anomaly=anomaly)
        for order in ORDERS
        for anomaly in (None, False, True)
    ]
    totals = await store.totals()
    return [
        blocks,
        pages,
        await store.buckets(series, **FOREVER, interval_us=HOUR_US),
        await store.stats(series, **FOREVER),
        await store.resolve_series([row.key for row in series]),
        (totals.series, totals.readings, totals.oldest_us, totals.newest_us),
    ]


async def flushes(store: ReadingStoreUnderTest, *, failing: int, happens: bool) -> bool:
    """Flush with the write of this number failing; tell whether there were not so many."""
    with failing_write(store, failing, happens=happens):
        try:
            await store.flush()
        except Busy:
            return False
    return True


@pytest.fixture
def many_slices(database: ReadingDatabase) -> None:
    """Make a small flush write as often as a large one."""
    database.flush_limits = FlushLimits(chunks_per_slice=4, details_per_slice=7)


async def test_answers_are_the_same_before_and_after_a_flush(database: ReadingDatabase) -> None:
    store = await database.open()
    series = await make_series(store, 3)
    given = varied(series)
    await append(store, given[::2])
    await append(store, given[1::2])
    before = await answers(store, series)
    assert await everything(store, series) == given
    assert held(store) == len(given)

    await store.flush()

    assert held(store) == 0
    assert await everything(store, series) == given
    assert await answers(store, series) == before
    assert await stored_in(database) == as_stored(given)
    await store.close()
    reopened = await database.open()
    assert await answers(reopened, series) == before


async def test_flushing_nothing_changes_nothing(database: ReadingDatabase) -> None:
    store = await database.open()
    series = await make_series(store, 1)
    await store.flush()
    await append(store, varied(series))
    await store.flush()
    before = await answers(store, series)

    await store.flush()

    assert await answers(store, series) == before
    assert await stored_in(database) == as_stored(varied(series))


@pytest.mark.usefixtures("many_slices")
@pytest.mark.parametrize("happens", [False, True])
async def test_flush_that_fails_at_any_write_is_tried_again(
    database: ReadingDatabase, happens: bool
) -> None:
    store = await database.open()
    series = await make_series(store, 3)
    model = Model()
    first = varied(series)
    model.append(first)
    await append(store, first)
    number, flushed = 0, False

    while not flushed:
        flushed = await flushes(store, failing=number, happens=happens)
        fresh = Given(series[0].id, NOON_US + number * SECOND_US + 1, number / 7)
        again = [fresh, first[2], first[1]._replace(value=-1.0)]
        assert await append(store, again) == bytes([Outcome.ACCEPTED, DUPLICATE, CONFLICT])
        model.append(again)
        await compare(store, series, model)
        assert await stored_in(database) == as_stored(model)
        number += 1

    assert number > WRITES_MIN
    await store.flush()
    assert held(store) == 0
    await compare(store, series, model)
    assert await stored_in(database) == as_stored(model)


@pytest.mark.usefixtures("many_slices")
@pytest.mark.parametrize("happens", [False, True])
async def test_flush_that_fails_at_any_write_is_finished_by_the_next_start(
    database: ReadingDatabase, happens: bool
) -> None:
    store = await database.open()
    series = await make_series(store, 3)
    model = Model()
    number, flushed = 0, False

    while not flushed:
        rows = varied(series, since_us=NOON_US + number * SECOND_US)
        await append(store, rows)
        flushed = await flushes(store, failing=number, happens=happens)
        behind = Given(series[1].id, NOON_US - number * SECOND_US - 1, text="behind the flush")
        await append(store, [behind])
        model.append([*rows, behind])
        await store.close()

        store = await database.open()
        await compare(store, series, model)
        assert await append(store, [rows[0], rows[2], behind]) == bytes([DUPLICATE] * 3)
        assert await stored_in(database) == as_stored(model)
        number += 1

    assert number > WRITES_MIN
    await store.flush()
    await compare(store, series, model)
    assert await stored_in(database) == as_stored(model)


async def test_flush_takes_the_same_hour_again(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at, at / 3) for at in range(90)]

    for turn in (1, 0, 2):
        assert await append(store, given[turn::3]) is None
        await store.flush()

    assert await everything(store, [series]) == given
    assert await stored_in(database) == as_stored(given)


@pytest.mark.parametrize("reopens", [False, True])
async def test_readings_are_judged_by_what_was_flushed(
    database: ReadingDatabase, reopens: bool
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    number = Given(series.id, NOON_US, 0.5)
    text = Given(series.id, NOON_US + HOUR_US, text="open")
    noted = Given(series.id, NOON_US + 2 * HOUR_US, 1.5, metadata=b"{}", score=2.0)
    await append(store, [number, text, noted])
    await store.flush()
    if reopens:
        await store.close()
        store = await database.open()

    late = Given(series.id, NOON_US + 1, 7.0)
    batch = [
        number,
        number._replace(value=0.25),
        text,
        text._replace(text="closed"),
        noted,
        noted._replace(text="a text now"),
        late,
    ]
    outcomes = await append(store, batch)

    assert outcomes == bytes([DUPLICATE, CONFLICT] * 3 + [Outcome.ACCEPTED])
    assert await everything(store, [series]) == [number, late, text, noted]
    await store.flush()
    assert await append(store, batch) == bytes([DUPLICATE, CONFLICT] * 3 + [DUPLICATE])
    assert await stored_in(database) == as_stored([number, late, text, noted])


async def test_late_reading_after_a_start_hides_no_newer_one(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    newest = Given(series.id, NOON_US + HOUR_US, 1.0)
    await append(store, [newest])
    await store.flush()
    await store.close()
    store = await database.open()
    late = Given(series.id, NOON_US, 2.0)
    await append(store, [late])

    assert await append(store, [newest]) == bytes([DUPLICATE])
    assert await append(store, [newest._replace(value=3.0)]) == bytes([CONFLICT])

    await store.flush()
    assert await everything(store, [series]) == [late, newest]
    assert await stored_in(database) == as_stored([late, newest])


async def test_one_flush_after_a_failed_one_takes_everything(database: ReadingDatabase) -> None:
    store = await database.open()
    series = await make_series(store, 3)
    await append(store, varied(series))
    assert not await flushes(store, failing=1, happens=False)
    await append(store, varied(series, since_us=NOON_US + 1))

    await store.flush()

    assert held(store) == 0


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_bring_together_what_is_flushed_and_what_is_not(
    store: ReadingStoreUnderTest, order: Order
) -> None:
    series = await make_series(store, 3)
    given = varied(series, count=80)
    for turn in range(3):
        await append(store, given[turn::4])
        await store.flush()
    await append(store, given[3::4])

    for limit in (100, 7):
        assert await pages_of(store, series, order=order, limit=limit) == in_order(given, order)
        anomalies = await pages_of(store, series, order=order, limit=limit, anomaly=True)
        assert anomalies == in_order([row for row in given if row.flags], order)


@pytest.mark.parametrize("order", ORDERS)
async def test_anomalies_are_paged_alike_before_and_after_a_flush(
    store: ReadingStoreUnderTest, order: Order
) -> None:
    series = await make_series(store, 2)
    given = varied(series, count=60)
    await append(store, given)
    expected = in_order([row for row in given if row.flags], order)

    before = await pages_of(store, series, order=order, limit=4, anomaly=True)
    await store.flush()
    after = await pages_of(store, series, order=order, limit=4, anomaly=True)

    assert before == after == expected


async def test_details_come_back_before_and_after_a_flush(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    given = [
        Given(series.id, NOON_US, 1.0, metadata=b'{"battery":3.1}', score=0.5),
        Given(series.id, NOON_US + 1, text=""),
        Given(series.id, NOON_US + 2, text="open\n\N{SNOWMAN}", metadata=b"{}"),
        Given(series.id, NOON_US + 3, -0.0, flags=FLAG_ANOMALY | 7 << 8, score=-0.0),
        Given(series.id, NOON_US + 4, 5e-324, flags=300 << 8),
    ]
    await append(store, given)
    before = await store.page([series], **FOREVER, order=Order.OLDEST_FIRST, limit=9)

    await store.flush()

    assert await everything(store, [series]) == given
    assert await store.page([series], **FOREVER, order=Order.OLDEST_FIRST, limit=9) == before
