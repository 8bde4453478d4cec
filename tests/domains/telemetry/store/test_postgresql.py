"""What only the PostgreSQL store does: several nodes, and a server that goes away."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from fieldstation.core.clock import SystemClock
from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Outcome
from fieldstation.domains.telemetry.store.postgresql import PostgresqlReadingStore
from fieldstation.domains.telemetry.store.postgresql_commits import CHANNEL
from fieldstation.domains.telemetry.store.postgresql_connections import TOGETHER
from tests.contracts.reading_databases import ReadingDatabase, reading_database
from tests.contracts.readings import (
    NOON_US,
    Given,
    append,
    columns,
    everything,
    make_series,
    rows_of,
)
from tests.domains.telemetry.store.lossy_proxy import LossyProxy
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(postgresql_url: str) -> AsyncIterator[ReadingDatabase]:
    async with reading_database(postgresql_url) as database:
        yield database


@pytest.fixture
async def proxy(database: ReadingDatabase) -> AsyncIterator[LossyProxy]:
    """Stand between a store and the server of ``database``."""
    server = urlsplit(database.url)
    async with LossyProxy(server.hostname or "", server.port or 5432) as proxy:
        yield proxy


@pytest.fixture
async def distant(database: ReadingDatabase, proxy: LossyProxy) -> PostgresqlReadingStore:
    """A store that reaches its database through the proxy."""
    name = urlsplit(database.url).path
    beyond = ReadingDatabase("postgresql", f"postgresql://postgres@127.0.0.1:{proxy.port}{name}")
    store = await beyond.open()
    assert isinstance(store, PostgresqlReadingStore)
    return store


async def test_two_nodes_with_the_same_readings_store_each_once(
    database: ReadingDatabase,
) -> None:
    one, two = await database.open("node-a"), await database.open("node-b")
    series = await make_series(one, 5)
    keys = [(row.id, NOON_US + at) for row in series for at in range(100)]
    shuffled = random.Random(7)  # noqa: S311 - any order will do

    async def feed(value: float) -> list[tuple[Given, int]]:
        store = one if value == 1.0 else two
        fate: list[tuple[Given, int]] = []
        order = shuffled.sample(keys, len(keys))
        for start in range(0, len(keys), 25):
            rows = [Given(*key, value) for key in order[start : start + 25]]
            outcomes = await append(store, rows) or bytes(25)
            fate += zip(rows, outcomes, strict=True)
        return fate

    fates = await asyncio.gather(feed(1.0), feed(2.0))

    accepted = [row for fate in fates for row, outcome in fate if outcome == Outcome.ACCEPTED]
    assert sorted(row[:2] for row in accepted) == sorted(keys)
    assert sorted(await everything(one, series)) == sorted(accepted)
    logged = [
        row
        for batch in await one.batches_after({}, batches_max=1_000)
        for row in rows_of(batch.readings)
    ]
    assert sorted(logged) == sorted(accepted)


async def test_ended_session_is_replaced(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    await append(store, [Given(series.id, NOON_US)])
    other = await asyncpg.connect(database.url)
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await other.close()

    # The first calls may still meet the ended sessions; whatever they say, the retry settles it.
    given = [Given(series.id, NOON_US + 1)]
    try:
        await append(store, given)
    except Busy:
        await append(store, given)
    for _ in range(8):
        with suppress(Busy):
            await store.totals()

    assert len(await everything(store, [series])) == 2
    assert await store.log_bounds() == {"node-a": (1, 2)}


@pytest.mark.parametrize("before", [0, 1])
async def test_answer_lost_during_the_commit_is_settled_by_the_retry(
    proxy: LossyProxy, distant: PostgresqlReadingStore, before: int
) -> None:
    """The first append is a transaction, later ones are a statement each."""
    (series,) = await make_series(distant, 1)
    for at in range(before):
        await append(distant, [Given(series.id, NOON_US - 1 - at)])
    given = [Given(series.id, NOON_US + at) for at in range(10)]
    proxy.lose_answer_to(CHANNEL.encode())

    with pytest.raises(Busy):
        await append(distant, given)
    outcomes = await append(distant, given)

    assert outcomes == bytes([Outcome.DUPLICATE]) * 10
    assert await append(distant, [Given(series.id, NOON_US + 99)]) is None
    assert await distant.log_bounds() == {"node-a": (1, before + 2)}
    await distant.close()


async def test_a_node_that_is_alone_commits_in_one_statement(database: ReadingDatabase) -> None:
    """What other nodes commit or do meanwhile is taken into account all the same."""
    one, two = await database.open("node-a"), await database.open("node-b")
    (series,) = await make_series(one, 1)
    admin = await asyncpg.connect(database.url)

    async def transactions_of(store: PostgresqlReadingStore, at: int, value: float = 0.0) -> bool:
        """Append a reading; tell whether it took a transaction of several statements."""
        with counting(store) as transactions:
            outcomes = await append(store, [Given(series.id, NOON_US + at, value)])
        fate.append(None if outcomes is None else Outcome(outcomes[0]))
        return bool(transactions)

    fate: list[Outcome | None] = []
    assert isinstance(one, PostgresqlReadingStore)
    assert isinstance(two, PostgresqlReadingStore)
    assert await transactions_of(one, 0)
    assert not await transactions_of(one, 1)
    assert not await transactions_of(one, 2)
    # Another node was there: its reading is known, and the next ones look first.
    assert await transactions_of(two, 3)
    assert await transactions_of(one, 3, value=1.0)
    assert fate[-1] is Outcome.CONFLICT
    assert await transactions_of(one, 4)
    assert not await transactions_of(one, 5)
    # Another node writes something: it is waited for.
    async with asyncio.TaskGroup() as tasks, admin.transaction():
        await admin.execute(f"SELECT {TOGETHER}")
        waiting = tasks.create_task(transactions_of(one, 6), name="append")
        await wait_until(lambda: waits_for_a_lock(admin))
        assert not waiting.done()
    assert waiting.result()
    assert [found for found in fate if found is not Outcome.CONFLICT] == [None] * 7
    assert len(await everything(two, [series])) == 7
    await admin.close()


@contextmanager
def counting(store: PostgresqlReadingStore) -> Iterator[list[None]]:
    """Note each transaction of several statements that a store begins."""
    server, begun = store._postgresql, []  # noqa: SLF001 - how it commits shows nowhere else
    transact = server.transact

    async def noted(*args: Any, **options: Any) -> Any:
        begun.append(None)
        return await transact(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "transact", noted)
        yield begun


async def waits_for_a_lock(admin: asyncpg.Connection) -> bool:
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    )
    return bool(await admin.fetchval(waiting))


async def test_entries_that_were_trimmed_unseen_are_not_numbered_again(
    database: ReadingDatabase,
) -> None:
    one, two = await database.open("node-a"), await database.open("node-b")
    (series,) = await make_series(one, 1)
    for at in range(2):
        await append(one, [Given(series.id, NOON_US + at)])
    for at in range(2, 5):
        await append(two, [Given(series.id, NOON_US + at)])
    await two.flush()
    assert await two.trim_log(before_us=database.clock.now_us() + 1) == 3

    await append(one, [Given(series.id, NOON_US + 9)])

    admin = await asyncpg.connect(database.url)
    rows = await admin.fetch("SELECT id, node_id FROM intake_batch ORDER BY id")
    assert [tuple(row) for row in rows] == [(2, "node-a"), (5, "node-b"), (6, "node-a")]
    await admin.close()
    assert len(await everything(two, [series])) == 6


async def test_server_away_is_busy_at_once_and_the_store_recovers(
    proxy: LossyProxy, distant: PostgresqlReadingStore
) -> None:
    (series,) = await make_series(distant, 1)
    given = [Given(series.id, NOON_US)]

    await proxy.stop()
    for _ in range(3):
        with pytest.raises(Busy):
            await asyncio.wait_for(append(distant, given), timeout=2)
        with pytest.raises(Busy):
            await asyncio.wait_for(distant.totals(), timeout=2)
    await proxy.start()

    assert await append(distant, given) is None
    assert await everything(distant, [series]) == given
    await distant.close()


async def test_server_that_never_answers_is_busy_in_bounded_time() -> None:
    async with LossyProxy("127.0.0.1", 0, silent=True) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/none"
        store = PostgresqlReadingStore(url, node_id="node-a", clock=SystemClock())

        with pytest.raises(Busy):
            await asyncio.wait_for(store.open(), timeout=8)

        await store.close()


async def test_commits_are_durable_whatever_the_database_says(database: ReadingDatabase) -> None:
    admin = await asyncpg.connect(database.url)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    store = await database.open()
    (series,) = await make_series(store, 1)
    before = await admin.fetchval("SELECT pg_current_wal_insert_lsn()")
    await store.append(columns([Given(series.id, NOON_US)]))

    flushed = await admin.fetchval("SELECT pg_current_wal_flush_lsn() > $1::pg_lsn", before)

    assert flushed is True
    await admin.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
    await admin.close()


def test_missing_driver_names_the_extra() -> None:
    script = (
        "import sys\n"
        "sys.modules['asyncpg'] = None\n"
        "from fieldstation.core.clock import SystemClock\n"
        "from fieldstation.domains.telemetry.store.postgresql import PostgresqlReadingStore\n"
        "PostgresqlReadingStore('postgresql://x/y', node_id='n', clock=SystemClock())\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "fieldstation[postgresql]" in ended.stderr
