"""Nodes that share a database server know each other's readings, whoever flushes them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from itertools import count

import asyncpg
import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import (
    FLAG_ANOMALY,
    Outcome,
    SeriesKey,
    SeriesRow,
    Variant,
)
from fieldstation.domains.telemetry.store import flushing
from fieldstation.domains.telemetry.store.recent import PARTS_PER_SIZE_MAX
from tests.contracts.reading_databases import (
    ReadingDatabase,
    ReadingStoreUnderTest,
    reading_database,
)
from tests.contracts.readings import MINUTE_US, NOON_US, Given, append, everything, make_series
from tests.contracts.store_insides import failing_write, held, stored_in
from tests.services import on_mariadb
from tests.stored_readings import Stored

pytestmark = pytest.mark.anyio

Nodes = tuple[ReadingStoreUnderTest, ReadingStoreUnderTest]

STEP_US = 25 * MINUTE_US
"""Two or three readings an hour: what is flushed twice or apart shows in its chunks."""


@pytest.fixture(params=["postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[ReadingDatabase]:
    async with reading_database(database_url) as database:
        yield database


@pytest.fixture
async def nodes(database: ReadingDatabase) -> Nodes:
    return await database.open("node-a"), await database.open("node-b")


def steady(series: SeriesRow, *, first: int = 0, count: int = 6) -> list[Given]:
    return [
        Given(series.id, NOON_US + at * STEP_US, at / 3, flags=FLAG_ANOMALY, score=1.5)
        for at in range(first, first + count)
    ]


def as_stored(rows: Sequence[Given]) -> list[Stored]:
    return sorted(Stored(*row[:3]) for row in rows)


async def chunks_in(database: ReadingDatabase) -> int:
    """Return how many readings all chunks hold together."""
    counted = "SELECT COALESCE(SUM(count), 0) FROM chunk"
    if database.kind == "mariadb":
        ((found,),) = await on_mariadb(counted, database=database.url.rpartition("/")[2])
        return int(found)
    connection = await asyncpg.connect(database.url)
    try:
        return int(await connection.fetchval(counted))
    finally:
        await connection.close()


async def test_two_nodes_create_one_series_and_one_variant(database: ReadingDatabase) -> None:
    stores = [await database.open(f"node-{at}") for at in range(4)]
    keys = [SeriesKey("org", "device", "light", f"s{at}") for at in range(50)]

    found = await asyncio.gather(*(store.resolve_series(keys) for store in stores))

    assert all(rows == found[0] for rows in found)
    variants = [Variant(str(at), None, "mqtt") for at in range(5)]
    wanted = [(row.id, variant) for row in found[0] for variant in variants]
    numbers = await asyncio.gather(*(store.resolve_variants(wanted) for store in stores))
    assert all(one == numbers[0] for one in numbers)
    assert sorted(set(numbers[0])) == list(range(5))


async def test_unflushed_readings_are_in_the_other_nodes_next_page(nodes: Nodes) -> None:
    one, two = nodes
    (series,) = await make_series(one, 1)
    given = steady(series)

    for at, row in enumerate(given):
        await append(one, [row])
        assert await everything(two, [series]) == given[: at + 1]

    assert await append(two, given) == bytes([Outcome.DUPLICATE]) * len(given)
    assert (await two.totals()).readings == len(given)


async def test_each_reading_is_flushed_once_by_whichever_node(
    database: ReadingDatabase, nodes: Nodes
) -> None:
    one, two = nodes
    (series,) = await make_series(one, 1)
    given = steady(series, count=9)
    await append(one, given[:3])
    await append(two, given[3:6])
    await append(one, given[6:])
    assert await everything(two, [series]) == await everything(one, [series]) == given
    assert held(one) == held(two) == len(given)

    await one.flush()
    assert (held(one), held(two)) == (0, len(given))
    assert await everything(two, [series]) == given
    await two.flush()

    assert held(two) == 0
    assert await everything(two, [series]) == given
    assert await chunks_in(database) == len(given)
    assert await stored_in(database) == as_stored(given)


async def test_a_node_flushes_what_another_one_appended(
    database: ReadingDatabase, nodes: Nodes
) -> None:
    one, two = nodes
    (series,) = await make_series(one, 1)
    given = steady(series)
    await append(one, given)
    assert await everything(two, [series]) == given

    await two.flush()
    await one.flush()

    assert held(one) == held(two) == 0
    assert await everything(one, [series]) == given
    assert await chunks_in(database) == len(given)
    assert await append(one, given) == bytes([Outcome.DUPLICATE]) * len(given)


async def test_a_flush_may_end_inside_what_another_node_keeps_as_one(
    database: ReadingDatabase, nodes: Nodes
) -> None:
    one, two = nodes
    (series,) = await make_series(one, 1)
    given = steady(series, count=PARTS_PER_SIZE_MAX + 4)
    for row in given[:7]:
        await append(one, [row])
    await one.flush()
    for row in given[7:]:
        await append(one, [row])
    assert await everything(two, [series]) == given
    assert held(two) == len(given), "it had not looked since the start"

    await two.flush()

    assert held(two) == 0
    assert await everything(one, [series]) == await everything(two, [series]) == given
    await one.flush()
    assert held(one) == 0
    assert await chunks_in(database) == len(given)
    assert await stored_in(database) == as_stored(given)


async def test_a_flush_that_failed_anywhere_is_finished_by_another_node(
    database: ReadingDatabase, nodes: Nodes
) -> None:
    one, two = nodes
    one.flush_limits = two.flush_limits = flushing.FlushLimits(
        chunks_per_slice=1, details_per_slice=3
    )
    (series,) = await make_series(one, 1)
    given: list[Given] = []
    flushed = False

    for number in count():
        fresh = steady(series, first=8 * number, count=8)
        given += fresh
        await append(one, fresh[:6])
        with failing_write(one, number), suppress(Busy):
            await one.flush()
            flushed = True
        await append(two, fresh[6:])
        assert await everything(one, [series]) == await everything(two, [series]) == given

        await two.flush()

        assert held(two) == 0
        assert await everything(one, [series]) == await everything(two, [series]) == given
        assert await chunks_in(database) == len(given)
        assert await append(one, fresh) == bytes([Outcome.DUPLICATE]) * 8
        if flushed:
            break

    assert number > 4
    await one.flush()
    assert held(one) == 0
    assert await stored_in(database) == as_stored(given)


async def test_nodes_that_append_and_flush_at_once_keep_every_reading_once(
    database: ReadingDatabase, nodes: Nodes
) -> None:
    series = await make_series(nodes[0], 2)
    given = [
        [Given(series[at % 2].id, NOON_US + at * STEP_US // 3 + node, at / 3) for at in range(120)]
        for node in (0, 1)
    ]

    async def feed(node: int) -> None:
        for at in range(0, 120, 4):
            await append(nodes[node], given[node][at : at + 4])
            if at % 3 == 0:
                await nodes[node].flush()
            assert set(given[node][: at + 4]) <= set(await everything(nodes[node], series))

    await asyncio.gather(feed(0), feed(1))

    expected = sorted([*given[0], *given[1]], key=lambda row: (row.ts_us, row.series_id))
    for node in nodes:
        assert await everything(node, series) == expected
    for node in (*nodes, *nodes):
        await node.flush()
    assert [held(node) for node in nodes] == [0, 0]
    assert await chunks_in(database) == len(expected)
    assert await stored_in(database) == as_stored(expected)


async def test_a_node_that_starts_knows_what_the_others_did_not_flush(
    database: ReadingDatabase,
) -> None:
    one = await database.open("node-a")
    (series,) = await make_series(one, 1)
    given = steady(series)
    await append(one, given[:3])
    await one.flush()
    await append(one, given[3:])

    two = await database.open("node-b")

    assert held(two) == 3
    assert await everything(two, [series]) == given
    assert await append(two, [given[0], given[5]]) == bytes([Outcome.DUPLICATE] * 2)


async def test_every_node_knows_the_newest_reading_of_a_series(nodes: Nodes) -> None:
    one, two = nodes
    (series,) = await make_series(one, 1)
    await append(one, steady(series))

    (resolved,) = await two.resolve_series([series.key])

    assert resolved.last_us == NOON_US + 5 * STEP_US


async def test_a_node_that_slept_while_the_log_was_trimmed_accepts_no_reading_twice(
    database: ReadingDatabase, nodes: Nodes
) -> None:
    one, two = nodes
    series, other = await make_series(one, 2)
    given = steady(series, count=2)
    await append(one, given[:1])
    await append(two, given[1:])
    await append(two, steady(other))
    await two.flush()
    database.clock.advance(3600)
    assert await two.trim_log(before_us=database.clock.now_us()) == 1

    assert await append(one, given[1:]) == bytes([Outcome.DUPLICATE])


@pytest.mark.parametrize("flushes", [False, True])
async def test_a_device_deleted_by_one_node_is_gone_for_all(
    database: ReadingDatabase, nodes: Nodes, flushes: bool
) -> None:
    one, two = nodes
    (gone,) = await make_series(one, 1, device_id="gone")
    (stays,) = await make_series(one, 1, device_id="stays")
    given = [*steady(gone), *steady(stays)]
    await append(one, given)
    assert len(await everything(two, [gone, stays])) == len(given)
    if flushes:
        await one.flush()

    await two.delete_device("org", "gone")

    assert await one.find_series("org", device_ids=["gone"]) == []
    assert await everything(two, [gone, stays]) == steady(stays)
    for node in nodes:
        await node.flush()
        assert await everything(node, [gone, stays]) == steady(stays)
    assert await stored_in(database) == as_stored(steady(stays))


async def test_deleted_readings_leave_the_other_nodes_memory(nodes: Nodes) -> None:
    one, two = nodes
    (gone,) = await make_series(one, 1, device_id="gone")
    await append(one, steady(gone))

    await two.delete_device("org", "gone")

    assert await everything(one, [gone]) == []


async def test_deleted_readings_that_another_node_flushed_count_once(nodes: Nodes) -> None:
    one, two = nodes
    (gone,) = await make_series(one, 1, device_id="gone")
    await append(one, steady(gone))
    assert await everything(two, [gone]) == steady(gone)
    await one.flush()

    await two.delete_device("org", "gone")

    assert (await one.totals()).readings == 0


async def test_deleted_readings_that_the_deleting_node_never_saw_count_as_well(
    nodes: Nodes,
) -> None:
    one, two = nodes
    (gone,) = await make_series(one, 1, device_id="gone")
    await append(one, steady(gone))

    await two.delete_device("org", "gone")

    assert (await one.totals()).readings == 0


@pytest.mark.parametrize("number", range(4))
async def test_a_device_deleted_while_another_node_flushes_leaves_no_chunks(
    database: ReadingDatabase, nodes: Nodes, number: int
) -> None:
    one, two = nodes
    (gone,) = await make_series(one, 1, device_id="gone")
    await append(one, steady(gone))
    write = one._write  # noqa: SLF001 - the deletion comes before one write of the flush
    writes = count()
    deletions: list[asyncio.Task[None]] = []

    async with asyncio.TaskGroup() as group:

        async def stop_before(steps: flushing.Steps[object]) -> object:
            if next(writes) == number:
                task = group.create_task(two.delete_device("org", "gone"), name="deletion")
                deletions.append(task)
                # It ends before the flush goes on, or waits for the flush to end.
                await asyncio.wait([task], timeout=0.5)
            return await write(steps)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one, "_write", stop_before)
            await one.flush()

    assert [task.done() for task in deletions] == [True]
    assert await two.find_series("org") == []
    assert await chunks_in(database) == 0
