"""Sealing that is cut off, raced or overtaken leaves every reading exactly once, on every store."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, Order, Outcome, SeriesRow
from fieldstation.domains.telemetry.store.steps import Steps
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    FOREVER,
    HOUR_US,
    NOON_US,
    SECOND_US,
    Given,
    append,
    everything,
    make_series,
    rows_of,
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
from tests.contracts.test_reading_store_flush import as_stored, varied
from tests.contracts.test_reading_store_flush_deletion import hourly, two_devices
from tests.contracts.test_reading_store_model import Model, compare
from tests.contracts.test_reading_store_pages import in_order

pytestmark = pytest.mark.anyio

DUPLICATE, CONFLICT = Outcome.DUPLICATE, Outcome.CONFLICT
WRITES_MIN = 4
"""Of sealing in several slices: one each."""


async def seals(store: ReadingStoreUnderTest, *, failing: int, happens: bool) -> bool:
    """Seal with the write of this number failing; tell whether there were not so many."""
    with failing_write(store, failing, happens=happens):
        try:
            await seal_all(store)
        except Busy:
            return False
    return True


@pytest.fixture(autouse=True)
def small_slices(database: ReadingDatabase) -> None:
    """Make little sealing write as often as much of it."""
    database.seal_limits = SMALL_SLICES


@pytest.mark.parametrize("happens", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
async def test_sealing_that_fails_at_any_write_is_tried_again(
    database: ReadingDatabase, happens: bool, restarts: bool
) -> None:
    store = await database.open()
    series = await make_series(store, 3)
    model = Model()
    rows = varied(series, count=48)
    assert await append(store, rows) is None
    model.append(rows)
    number, sealed = 0, False

    while not sealed:
        await store.flush()
        sealed = await seals(store, failing=number, happens=happens)
        if restarts:
            await store.close()
            store = await database.open()
        late = Given(series[0].id, NOON_US + number * SECOND_US + 1, number / 7)
        again = [late, rows[2], rows[1]._replace(value=-1.0)]
        assert await append(store, again) == bytes([Outcome.ACCEPTED, DUPLICATE, CONFLICT])
        model.append(again)
        await compare(store, series, model)
        assert await stored_in(database) == as_stored(model)
        number += 1

    assert number > WRITES_MIN
    await store.flush()
    await seal_all(store)
    await compare(store, series, model)
    assert await stored_in(database) == as_stored(model)
    assert await in_chunks(database) == 0
    await demand_sealed_apart(database)
    assert (await store.totals()).readings == len(model.stands)


async def test_readings_are_never_missing_while_they_are_sealed(database: ReadingDatabase) -> None:
    store = await database.open()
    series = await make_series(store, 4)
    given = varied(series, count=200)
    expected = in_order(given, Order.NEWEST_FIRST)
    await append(store, given[::2])
    await store.flush()
    await append(store, given[1::2])
    looks = 0

    async def seal() -> None:
        await store.flush()
        await seal_all(store)

    async with asyncio.TaskGroup() as group:
        sealing = group.create_task(seal(), name="seal")
        while not sealing.done():
            page = await store.page(series, **FOREVER, order=Order.NEWEST_FIRST, limit=1_000)
            assert rows_of(page) == expected
            stats = await store.stats(series, **FOREVER)
            assert sum(one.count for one in stats) == sum(row.text is None for row in given)
            looks += 1
    assert looks > 1
    assert await in_chunks(database) == 0


async def test_appends_and_flushes_go_on_while_it_is_sealed(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at * HOUR_US, at / 10) for at in range(60)]
    await append(store, given)
    await store.flush()
    moved: list[int] = []
    during = 0

    async def seal() -> None:
        while slice_readings := await store.seal_slice():
            moved.append(slice_readings)

    async with asyncio.TaskGroup() as group:
        sealing = group.create_task(seal(), name="seal")
        # No more than these: each brings a chunk that is due as well.
        while not sealing.done() and during < 10:
            late = Given(series.id, NOON_US + during * HOUR_US + 1, 0.5)
            assert await append(store, [late, given[0]]) == bytes([Outcome.ACCEPTED, DUPLICATE])
            given.append(late)
            await store.flush()
            during += 1

    assert during > 1
    assert len(moved) > 1
    await seal_all(store)
    assert await stored_in(database) == as_stored(given)
    await demand_sealed_apart(database)


async def test_a_slice_whose_chunks_somebody_else_moved_changes_nothing(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at * HOUR_US, at / 10) for at in range(3)]
    await append(store, given)
    await store.flush()
    write = store._write  # noqa: SLF001 - the moment between reading a slice and writing it

    with pytest.MonkeyPatch.context() as patch:

        async def overtaken(steps: Steps[Any]) -> Any:
            patch.undo()
            # What a node does that has lost its lock without knowing it.
            await store._seal_oldest()  # noqa: SLF001
            return await write(steps)

        patch.setattr(store, "_write", overtaken)
        with pytest.raises(Busy, match="sealed the same readings"):
            await store.seal_slice()

    assert await sealed_counts(database) == [3]
    assert await stored_in(database) == as_stored(given)


async def test_two_nodes_seal_one_database_by_turns(database: ReadingDatabase) -> None:
    if database.kind == "sqlite":
        return  # a file has one node
    one, other = await database.open("node-a"), await database.open("node-b")
    series = await make_series(one, 3)
    given = varied(series, count=60)
    await append(one, given[::2])
    await append(other, given[1::2])
    await one.flush()

    moved = await asyncio.gather(seal_all(one), seal_all(other))

    assert sum(moved) == len(given)
    assert await everything(other, series) == given
    assert await stored_in(database) == as_stored(given)
    await demand_sealed_apart(database)


async def scattered(
    store: ReadingStoreUnderTest, gone: SeriesRow, stays: SeriesRow, *, count: int = 4
) -> None:
    """Put readings of two devices into sealed chunks, into chunks and into memory."""
    rows = hourly(gone, stays, count=3 * count)
    await append(store, rows[: 2 * count])
    await store.flush()
    await seal_all(store)
    await append(store, rows[2 * count : 4 * count])
    await store.flush()
    await append(store, rows[4 * count :])


async def test_a_deleted_device_is_gone_from_everywhere(database: ReadingDatabase) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await scattered(store, gone, stays)
    kept = hourly(stays, count=12)

    await store.delete_device("org", "gone")

    assert await everything(store, [gone]) == []
    assert await everything(store, [stays]) == kept
    assert (await store.totals()).readings == 12
    assert await stored_in(database) == as_stored(kept)
    details = await rows_in(database, "SELECT DISTINCT series_id FROM reading_detail")
    assert details == [(stays.id,)]
    await seal_all(store)
    assert await everything(store, [gone, stays]) == kept
    assert (await store.totals()).readings == 12


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("happens", [False, True])
async def test_a_deletion_that_failed_goes_on_and_counts_once(
    database: ReadingDatabase, number: int, happens: bool
) -> None:
    store = await database.open()
    gone, stays = await two_devices(store)
    await scattered(store, gone, stays)
    with failing_write(store, number, happens=happens), suppress(Busy):
        await store.delete_device("org", "gone")
    await seal_all(store)

    await store.delete_device("org", "gone")

    assert await store.find_series("org", device_ids=["gone"]) == []
    assert (await store.totals()).readings == 12
    assert await stored_in(database) == as_stored(hourly(stays, count=12))


async def test_a_deletion_takes_sealed_chunks_in_slices(
    database: ReadingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fieldstation.domains.telemetry.store.deletion.SEALED_PER_SLICE", 2)
    database.seal_limits = AT_ONCE
    store = await database.open()
    gone, stays = await two_devices(store)
    rows = [
        Given(one.id, NOON_US + at * SECOND_US, at / 10, flags=FLAG_ANOMALY if at == 7 else 0)
        for one in (gone, stays)
        for at in range(20_000)
    ]
    await append(store, rows)
    await store.flush()
    await seal_all(store)
    assert len(await sealed_counts(database)) == 10

    for left in (32_000, 24_000):
        with failing_write(store, 1), pytest.raises(Busy):
            await store.delete_device("org", "gone")
        assert (await store.totals()).readings == left
    await store.delete_device("org", "gone")

    assert (await store.totals()).readings == 20_000
    assert sum(await sealed_counts(database)) == 20_000
