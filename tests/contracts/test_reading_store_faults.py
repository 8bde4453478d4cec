"""Nothing acknowledged is lost and nothing breaks for good, on every store."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Columns, Order, Outcome
from tests.contracts.append_forever import batch_number
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    FOREVER,
    NOON_US,
    Given,
    append,
    everything,
    make_series,
    rows_of,
)
from tests.contracts.seals import sealed_counts
from tests.contracts.store_insides import stored_in
from tests.stored_readings import Stored

pytestmark = pytest.mark.anyio

KILLS = 4


def acknowledged_before_kill(url: str, first: int, *, batches: int, module: str) -> int:
    """Kill the appending process after some batches; return the last one it acknowledged."""
    command = [sys.executable, "-m", f"tests.contracts.{module}", url, str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: Iterator[str] = iter(process.stdout)
        for _ in range(batches):
            next(lines)
        process.kill()
        # What it printed between the last line we read and its end counts as well.
        return [first + batches - 1, *map(int, lines)][-1]


@pytest.mark.parametrize("module", ["append_forever", "seal_forever"])
async def test_kill_loses_nothing_acknowledged(database: ReadingDatabase, module: str) -> None:
    first = 0
    for kill in range(KILLS):
        acknowledged = await asyncio.to_thread(
            acknowledged_before_kill,
            database.url,
            first,
            batches=10 + 7 * kill,
            module=module,
        )
        store = await database.open()
        (series,) = await make_series(store, 1)
        stored = await everything(store, [series])
        expected = [row for number in range(acknowledged + 1) for row in batch_number(number, 1)]
        assert stored[: len(expected)] == expected
        # One batch may stand that was committed but not acknowledged, and only as a whole.
        assert stored[len(expected) :] in ([], batch_number(acknowledged + 1, series.id))
        logged = await store.batches_after({}, batches_max=10_000)
        assert [row for batch in logged for row in rows_of(batch.readings)] == stored
        assert [batch.seq for batch in logged] == list(range(1, len(logged) + 1))
        assert await stored_in(database) == [Stored(*row[:3]) for row in stored]
        assert bool(await sealed_counts(database)) == (module == "seal_forever")
        first = len(logged)
        await store.close()
    if database.kind == "sqlite":
        with sqlite3.connect(database.url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


async def test_one_write_too_many_is_refused(database: ReadingDatabase) -> None:
    store = database.make(writes_waiting_max=1)
    await store.open()
    (series,) = await make_series(store, 1)
    first = [Given(series.id, NOON_US + at) for at in range(20_000)]

    results = await asyncio.gather(
        append(store, first),
        append(store, [Given(series.id, NOON_US - 1)]),
        return_exceptions=True,
    )

    assert [isinstance(result, Busy) for result in results] == [False, True]
    assert await everything(store, [series]) == first
    assert await append(store, [Given(series.id, NOON_US - 1)]) is None


async def test_one_read_too_many_is_refused(database: ReadingDatabase) -> None:
    store = database.make(reads_waiting_max=1)
    await store.open()

    reads = [store.load_last_values() for _ in range(50)]
    results = await asyncio.gather(*reads, return_exceptions=True)

    assert {type(result) for result in results} == {tuple, Busy}
    assert await store.load_last_values() == ([], {})


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13])
async def test_cancelled_append_happens_as_a_whole_or_not_at_all(
    store: ReadingStoreUnderTest, turns: int
) -> None:
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at, at / 3) for at in range(200)]
    async with asyncio.TaskGroup() as group:
        running = group.create_task(append(store, given), name="append")
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()

    outcomes = await append(store, given)

    assert set(outcomes or bytes(1)) in ({Outcome.ACCEPTED}, {Outcome.DUPLICATE})
    assert await everything(store, [series]) == given
    logged = await store.batches_after({})
    assert [rows_of(batch.readings) for batch in logged] == [given]


async def test_cancelled_read_leaves_the_store_usable(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at, at / 3) for at in range(500)]
    await append(store, given)
    for turns in range(12):
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(
                store.page([series], **FOREVER, order=Order.OLDEST_FIRST, limit=1_000),
                name="page",
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()

    assert await everything(store, [series]) == given


async def test_closed_store_is_busy(store: ReadingStoreUnderTest) -> None:
    await store.close()
    await store.close()

    with pytest.raises(Busy):
        await store.append(Columns())
    with pytest.raises(Busy):
        await store.totals()
