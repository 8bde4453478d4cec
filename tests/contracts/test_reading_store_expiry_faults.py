"""A deletion of what is old that is cut off, raced or overtaken takes each reading once, and no
answer of whole hours and days changes on the way, on every store."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any

import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Order, SeriesRow
from fieldstation.domains.telemetry.store import aggregates, pages, shapes
from fieldstation.domains.telemetry.store.expiry import ExpiryLimits
from fieldstation.domains.telemetry.store.rollups import RollupLimits
from fieldstation.domains.telemetry.store.steps import Steps
from fieldstation.domains.telemetry.summaries import Bucket
from tests.contracts.expiries import SMALL_EXPIRIES, expire, floors_in, is_odd, odd, same
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import DAY_US, FOREVER, HOUR_US, Given, append, make_series, rows_of
from tests.contracts.seals import SMALL_SLICES, demand_sealed_apart, seal_all
from tests.contracts.store_insides import failing_write, rows_in, stored_in
from tests.contracts.test_reading_store_expiry import CUT_US, answers
from tests.contracts.test_reading_store_flush import as_stored
from tests.contracts.test_reading_store_rollups import (
    BEHIND_US,
    DAYS,
    MIDNIGHT_US,
    half_hourly,
    roll_up,
)

pytestmark = pytest.mark.anyio

WRITES_MIN = 4
"""Of a deletion in several slices: one each."""


async def scattered(store: ReadingStoreUnderTest, series: Sequence[SeriesRow]) -> list[Given]:
    """Put readings into sealed chunks and, of the same hours, into chunks, and roll them up."""
    given = odd(half_hourly(series))
    await append(store, given[::2])
    await store.flush()
    await seal_all(store)
    await append(store, given[1::2])
    await store.flush()
    await roll_up(store)
    return given


async def expires(
    store: ReadingStoreUnderTest, series: Sequence[SeriesRow], *, failing: int, happens: bool
) -> bool:
    """Delete with the write of this number failing; tell whether there were not so many."""
    with failing_write(store, failing, happens=happens):
        try:
            await expire(store, series, CUT_US)
        except Busy:
            return False
    return True


@pytest.fixture(autouse=True)
def small_slices(database: ReadingDatabase) -> None:
    """Make little deleting write as often as much of it."""
    database.seal_limits = SMALL_SLICES
    database.expiry_limits = SMALL_EXPIRIES
    database.rollup_limits = RollupLimits(exact_readings_max=0)


@pytest.mark.parametrize("happens", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
async def test_a_deletion_that_fails_at_any_write_is_tried_again(
    database: ReadingDatabase, happens: bool, restarts: bool
) -> None:
    store = await database.open()
    series = await make_series(store, 2)
    given = await scattered(store, series)
    before = await answers(store, series)
    number, expired = 0, False

    while not expired:
        expired = await expires(store, series, failing=number, happens=happens)
        if restarts:
            await store.close()
            store = await database.open()
        assert same(await answers(store, series), before)
        stored = await stored_in(database)
        floors = await floors_in(database)
        missing = [row for row in given if as_stored([row])[0] not in set(stored)]
        assert len(stored) + len(missing) == len(given), "each is exactly there or gone"
        assert all(row.ts_us < floors[row.series_id] for row in missing)
        details = await rows_in(database, "SELECT series_id, ts FROM reading_detail")
        standing = {row[:2] for row in stored}
        assert set(details) == {row[:2] for row in given if is_odd(row)} & standing
        assert (await store.totals()).readings == len(stored)
        number += 1

    assert number > WRITES_MIN
    stays = [row for row in given if row.ts_us >= CUT_US]
    assert await stored_in(database) == as_stored(stays)
    await demand_sealed_apart(database)


@pytest.mark.parametrize("happens", [False, True])
async def test_a_deletion_of_rollups_that_fails_at_any_write_is_tried_again(
    database: ReadingDatabase, happens: bool
) -> None:
    store = await database.open()
    series = await make_series(store, 2)
    given = await scattered(store, series)
    await expire(store, series, BEHIND_US)
    number, expired = 0, False
    days: list[Bucket] = []

    while not expired:
        with failing_write(store, number, happens=happens):
            try:
                await expire(store, series, BEHIND_US, CUT_US)
                expired = True
            except Busy:
                number += 1
        days = await store.buckets(series, **FOREVER, interval_us=DAY_US)
        hours = await store.buckets(series, **FOREVER, interval_us=HOUR_US)
        for one in days:
            own = [hour for hour in hours if hour.start_us // DAY_US == one.start_us // DAY_US]
            assert one.count == sum(hour.count for hour in own if hour.series_id == one.series_id)

    assert number > 0
    stays = [row for row in given if row.ts_us >= CUT_US and row.text is None]
    assert sum(one.count for one in days) == len(stays)


async def test_no_answer_changes_and_no_detail_is_missing_while_readings_are_deleted(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    series = await make_series(store, 2)
    given = set(await scattered(store, series))
    before = await answers(store, series)
    looks = 0

    async with asyncio.TaskGroup() as group:
        expiring = group.create_task(expire(store, series, CUT_US), name="expire")
        while not expiring.done():
            assert same(await answers(store, series), before)
            page = await store.page(series, **FOREVER, order=Order.NEWEST_FIRST, limit=1_000)
            assert set(rows_of(page)) <= given
            looks += 1
    assert looks > 1


async def test_appends_and_flushes_go_on_while_readings_are_deleted(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    series = await make_series(store, 2)
    given = await scattered(store, series)
    stays = [row for row in given if row.ts_us >= CUT_US]
    during = 0

    async with asyncio.TaskGroup() as group:
        expiring = group.create_task(expire(store, series, CUT_US), name="expire")
        while not expiring.done():
            row = Given(series[0].id, BEHIND_US + during, 0.5)
            assert await append(store, [row]) is None
            stays.append(row)
            await store.flush()
            during += 1

    assert during > 1
    assert await stored_in(database) == as_stored(sorted(stays))
    assert (await store.totals()).readings == len(stays)


async def test_two_that_delete_from_one_database_do_it_by_turns(database: ReadingDatabase) -> None:
    one = await database.open("node-a")
    # A file has one node, which may be asked twice.
    other = one if database.kind == "sqlite" else await database.open("node-b")
    series = await make_series(one, 3)
    given = await scattered(one, series)
    before = await answers(other, series)

    slices = await asyncio.gather(expire(one, series, CUT_US), expire(other, series, CUT_US))

    assert min(slices) > 0
    stays = [row for row in given if row.ts_us >= CUT_US]
    assert await stored_in(database) == as_stored(stays)
    assert (await other.totals()).readings == len(stays)
    for store in (one, other):
        assert same(await answers(store, series), before)


async def test_what_another_node_has_in_memory_waits_for_its_flush(
    database: ReadingDatabase,
) -> None:
    one = await database.open("node-a")
    other = one if database.kind == "sqlite" else await database.open("node-b")
    series = await make_series(one, 2)
    given = await scattered(one, series)
    late = Given(series[0].id, MIDNIGHT_US + 7, 50.0)
    await append(other, [late])
    before = await answers(one, series)

    await expire(one, series, CUT_US)

    assert await floors_in(database) == {series[0].id: 0, series[1].id: CUT_US}
    assert same(await answers(one, series), before)
    assert as_stored([late])[0] in await stored_in(database)
    await other.flush()
    await roll_up(other)
    await expire(one, series, CUT_US)
    assert same(await answers(other, series), before)
    stays = [row for row in given if row.ts_us >= CUT_US]
    assert await stored_in(database) == as_stored(stays)


async def without_lock(store: ReadingStoreUnderTest, series: Sequence[SeriesRow]) -> None:
    """Roll up and delete as another node does while this one has lost its lock unknowingly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_flushing_alone", nullcontext)
        await roll_up(store)
        await expire(store, series, CUT_US)


async def test_a_slice_whose_rows_somebody_else_took_changes_nothing(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    series = await make_series(store, 1)
    given = await scattered(store, series)
    write = store._write  # noqa: SLF001 - the moment between reading a slice and writing it

    with pytest.MonkeyPatch.context() as patch:

        async def overtaken(steps: Steps[Any]) -> Any:
            patch.undo()
            await without_lock(store, series)
            return await write(steps)

        patch.setattr(store, "_write", overtaken)
        with pytest.raises(Busy, match="deleted or sealed the same readings"):
            await expire(store, series, CUT_US)

    stays = [row for row in given if row.ts_us >= CUT_US]
    assert await stored_in(database) == as_stored(stays)
    assert (await store.totals()).readings == len(stays)


async def test_rollups_of_readings_that_somebody_else_deleted_meanwhile_are_not_written(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    series = await make_series(store, 1)
    await append(store, half_hourly(series))
    await store.flush()
    before = await answers(store, series)
    compute = store._read_readings  # noqa: SLF001 - the moment before the readings are read

    with pytest.MonkeyPatch.context() as patch:

        async def overtaken(work: Callable[..., Steps[Any]]) -> Any:
            patch.undo()
            await without_lock(store, series)
            return await compute(work)

        patch.setattr(store, "_read_readings", overtaken)
        with pytest.raises(Busy, match="deleted readings meanwhile"):
            await roll_up(store)

    assert same(await answers(store, series), before)


async def interrupted(
    store: ReadingStoreUnderTest,
    steps: Steps[Any],
    number: int,
    act: Callable[[], Awaitable[None]],
) -> tuple[Any, bool]:
    """Ask statement by statement and act before the one of this number; tell whether there was
    one."""

    def only(statement: Any) -> Steps[Any]:
        return (yield statement)

    rows: Any = None
    for at in count():
        try:
            statement = steps.send(rows)
        except StopIteration as finished:
            return finished.value, at > number
        if at == number:
            await act()
        rows = await store._read(only(statement))  # noqa: SLF001 - one statement of a question
    raise AssertionError


Question = Callable[[ReadingStoreUnderTest, Sequence[SeriesRow]], Steps[Any]]


def ask_for_hours(store: ReadingStoreUnderTest, series: Sequence[SeriesRow]) -> Steps[Any]:
    return aggregates.buckets(store._dialect, (), series, **FOREVER, interval_us=HOUR_US)  # noqa: SLF001


def ask_for_days(store: ReadingStoreUnderTest, series: Sequence[SeriesRow]) -> Steps[Any]:
    return aggregates.buckets(store._dialect, (), series, **FOREVER, interval_us=DAY_US)  # noqa: SLF001


def ask_for_statistics(store: ReadingStoreUnderTest, series: Sequence[SeriesRow]) -> Steps[Any]:
    return aggregates.stats(
        store._dialect,  # noqa: SLF001
        (),
        series,
        **FOREVER,
        exact_readings_max=1_000,
    )


def ask_for_a_shape(store: ReadingStoreUnderTest, series: Sequence[SeriesRow]) -> Steps[Any]:
    return shapes.shapes(store._dialect, (), series, **FOREVER, points_max=10_000)  # noqa: SLF001


@pytest.mark.parametrize("state", ["rolled up", "with marks", "rolled up a day", "not rolled up"])
@pytest.mark.parametrize(
    "question", [ask_for_hours, ask_for_days, ask_for_statistics, ask_for_a_shape]
)
async def test_a_deletion_between_any_two_statements_of_a_question_changes_no_answer(
    database: ReadingDatabase, question: Question, state: str
) -> None:
    database.expiry_limits = ExpiryLimits()
    store = await database.open()
    for number in count():
        series = await make_series(store, 2, device_id=f"device-{number}")
        # What is rolled up once stays so, for all series.
        since_us = MIDNIGHT_US + number * 10 * DAY_US
        given = [
            row._replace(ts_us=row.ts_us - MIDNIGHT_US + since_us)
            for row in half_hourly(series)
            if row.ts_us % HOUR_US < HOUR_US // 2
        ]
        await append(store, given)
        await store.flush()
        await roll_up(store, since_us + (1 if state == "rolled up a day" else DAYS) * DAY_US)
        if state == "with marks":
            late = [
                Given(row.id, since_us + at * 5 * HOUR_US + HOUR_US // 2 + 9, 4.0)
                for row in series
                for at in range(3)
            ]
            await append(store, late)
            await store.flush()
        before = await store._read(question(store, series))  # noqa: SLF001

        async def act(series: Sequence[SeriesRow] = series, since_us: int = since_us) -> None:
            await roll_up(store, since_us + DAYS * DAY_US)
            assert await expire(store, series, since_us + 2 * DAY_US) > 0

        found, happened = await interrupted(store, question(store, series), number, act)

        assert same(found, before)
        if not happened:
            break
    assert number > 2
    assert same(await store._read(question(store, series)), before)  # noqa: SLF001


@pytest.mark.parametrize("order", Order)
async def test_a_deletion_between_any_two_statements_of_a_page_takes_no_details_alone(
    database: ReadingDatabase, order: Order
) -> None:
    database.expiry_limits = ExpiryLimits()
    store = await database.open()
    for number in count():
        series = await make_series(store, 1, device_id=f"device-{number}")
        given = odd(half_hourly(series))
        await append(store, given)
        await store.flush()
        await roll_up(store)
        steps = pages.page(
            store._dialect,  # noqa: SLF001
            (),
            series,
            **FOREVER,
            order=order,
            limit=1_000,
            after=None,
            anomaly=None,
        )

        async def act(series: Sequence[SeriesRow] = series) -> None:
            assert await expire(store, series, CUT_US) > 0

        found, happened = await interrupted(store, steps, number, act)

        assert set(rows_of(found)) <= set(given)
        assert set(rows_of(found)) >= {row for row in given if row.ts_us >= CUT_US}
        if not happened:
            break
    assert number > 2
