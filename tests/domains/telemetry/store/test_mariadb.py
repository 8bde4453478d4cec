"""What only the MariaDB store does: its locks, its limits, and a server that goes away."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import asyncmy
import pytest

from fieldstation.core.clock import SystemClock
from fieldstation.core.errors import Busy, TooLarge
from fieldstation.domains.telemetry.ports import Outcome, SeriesKey
from fieldstation.domains.telemetry.store import mariadb_connections
from fieldstation.domains.telemetry.store.mariadb import MariadbReadingStore
from fieldstation.domains.telemetry.store.steps import Query, Steps
from tests.contracts.reading_databases import ReadingDatabase, async_url, reading_database
from tests.contracts.readings import NOON_US, Given, append, everything, make_series
from tests.domains.telemetry.store.lossy_proxy import LossyProxy
from tests.services import on_mariadb
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

RUNNING = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s AND info LIKE %s"


@pytest.fixture
async def database(mariadb_url: str) -> AsyncIterator[ReadingDatabase]:
    async with reading_database(mariadb_url) as database:
        yield database


@pytest.fixture
def name(database: ReadingDatabase) -> str:
    return database.url.rpartition("/")[2]


@pytest.fixture
async def proxy(database: ReadingDatabase) -> AsyncIterator[LossyProxy]:
    """Stand between a store and the server of ``database``."""
    server = urlsplit(database.url)
    async with LossyProxy(server.hostname or "", server.port or 3306) as proxy:
        yield proxy


@pytest.fixture
async def distant(name: str, proxy: LossyProxy) -> AsyncIterator[MariadbReadingStore]:
    """A store that reaches its database through the proxy."""
    beyond = ReadingDatabase("mariadb", f"mysql://root@127.0.0.1:{proxy.port}/{name}")
    store = await beyond.open()
    assert isinstance(store, MariadbReadingStore)
    yield store
    await store.close()


async def test_names_that_differ_in_case_accents_or_spaces_are_other_series(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    names = ["o", "O", "ö", "o ", "o\u0308"]
    keys = [SeriesKey("org", "device", "temperature", name) for name in names]

    found = await store.resolve_series(keys)

    assert [row.key for row in found] == keys
    assert len({row.id for row in found}) == len(names)
    for row in found:
        assert await store.find_series("org", sensor_ids=[row.key.sensor_id]) == [row]


async def test_ended_session_is_replaced(database: ReadingDatabase, name: str) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    await append(store, [Given(series.id, NOON_US)])
    sessions = "SELECT id FROM information_schema.processlist WHERE db = %s"
    for (session_id,) in await on_mariadb(sessions, name):
        await on_mariadb(f"KILL {session_id}")

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


async def test_sessions_that_ended_while_nobody_asked_are_not_noticed(
    database: ReadingDatabase, name: str
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    server = vars(vars(store)["_server"])  # nobody has asked for a while
    for idle in [*server["_idle"], server["_writer"]]:
        idle._since -= 2 * mariadb_connections.UNSURE_AFTER_S  # noqa: SLF001
    sessions = "SELECT id FROM information_schema.processlist WHERE db = %s"
    for (session_id,) in await on_mariadb(sessions, name):
        await on_mariadb(f"KILL {session_id}")

    assert await append(store, [Given(series.id, NOON_US)]) is None
    assert (await store.totals()).readings == 1


async def test_answer_lost_during_the_commit_is_settled_by_the_retry(
    proxy: LossyProxy, distant: MariadbReadingStore
) -> None:
    (series,) = await make_series(distant, 1)
    given = [Given(series.id, NOON_US + at) for at in range(10)]
    proxy.lose_answer_to(b"COMMIT")

    with pytest.raises(Busy):
        await append(distant, given)
    outcomes = await append(distant, given)

    assert outcomes == bytes([Outcome.DUPLICATE]) * 10
    assert await append(distant, [Given(series.id, NOON_US + 99)]) is None
    assert await distant.log_bounds() == {"node-a": (1, 2)}


async def test_server_away_is_busy_at_once_and_the_store_recovers(
    proxy: LossyProxy, distant: MariadbReadingStore
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


async def test_server_that_never_answers_is_busy_in_bounded_time() -> None:
    async with LossyProxy("127.0.0.1", 0, silent=True) as proxy:
        url = async_url(f"mysql://root@127.0.0.1:{proxy.port}/none")
        store = MariadbReadingStore(url, node_id="node-a", clock=SystemClock())

        with pytest.raises(Busy):
            await asyncio.wait_for(store.open(), timeout=8)

        await store.close()


async def test_a_cancelled_request_stops_its_query(database: ReadingDatabase, name: str) -> None:
    store = await database.open()
    query = "SELECT BENCHMARK(1000000000, MD5('x'))"

    def slow() -> Steps[None]:
        yield Query(query)

    async def is_running() -> bool:
        ((found,),) = await on_mariadb(RUNNING, name, f"{query}%")
        return bool(found)

    async with asyncio.TaskGroup() as tasks:
        read = store._read(slow())  # noqa: SLF001 - no query of ours takes that long here
        asking = tasks.create_task(read, name="asking")
        await wait_until(is_running)
        asking.cancel()
        await asyncio.wait([asking], timeout=5)

    async def is_stopped() -> bool:
        return not await is_running()

    await wait_until(is_stopped, timeout_s=3)
    assert (await store.totals()).readings == 0


async def test_no_more_connections_than_readers_and_one_writer(
    database: ReadingDatabase, name: str
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    await append(store, [Given(series.id, NOON_US)])

    await asyncio.gather(*(store.totals() for _ in range(40)))

    counted = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s"
    assert await on_mariadb(counted, name) == ((5,),)


@asynccontextmanager
async def another_node_writing(name: str) -> AsyncGenerator[asyncmy.Connection, None]:
    """Hold what every writing transaction of the store takes first."""
    other = await asyncmy.connect(host="127.0.0.1", user="root", database=name)
    try:
        async with other.cursor() as cursor:
            await cursor.execute(mariadb_connections.TAKE_TURN)
            assert cursor.rowcount == 1
        yield other
    finally:
        await other.ensure_closed()


def waiting_briefly() -> Steps[None]:
    yield Query("SET SESSION innodb_lock_wait_timeout = 1")


async def test_waiting_for_another_node_is_tried_three_times(
    database: ReadingDatabase, name: str
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    await store._write(waiting_briefly())  # noqa: SLF001 - on the connection that writes

    async with another_node_writing(name) as other, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(append(store, [Given(series.id, NOON_US)]), name="first")
        # Longer than one wait, shorter than three.
        await asyncio.wait([first], timeout=1.5)
        assert not first.done()
        await other.rollback()
    assert first.result() is None


async def test_another_node_that_does_not_end_is_busy_in_the_end(
    database: ReadingDatabase, name: str
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US)]
    await store._write(waiting_briefly())  # noqa: SLF001 - on the connection that writes

    async with another_node_writing(name):
        with pytest.raises(Busy, match="Lock wait timeout"):
            await append(store, given)

    assert await append(store, given) is None


async def test_a_duplicate_is_acknowledged_behind_what_it_repeats(
    database: ReadingDatabase, name: str
) -> None:
    """The server shows a commit before it is on its disk; a commit of one's own waits for it."""
    one, two = await database.open("node-a"), await database.open("node-b")
    (series,) = await make_series(one, 1)
    given = [Given(series.id, NOON_US)]
    await append(one, given)
    turns = "SELECT amount FROM tally WHERE name = 'turn'"
    before = await on_mariadb(turns, database=name)

    assert await append(two, given) == bytes([Outcome.DUPLICATE])

    assert await on_mariadb(turns, database=name) > before


async def test_one_reading_more_than_the_server_takes_at_once_is_refused(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    long = b'{"note":"' + b"x" * 20 * 1024 * 1024 + b'"}'

    with pytest.raises(TooLarge, match="max_allowed_packet"):
        await append(store, [Given(series.id, NOON_US, metadata=long)])

    assert await append(store, [Given(series.id, NOON_US, metadata=b"{}")]) is None
    assert await store.log_bounds() == {"node-a": (1, 1)}


def test_missing_driver_names_the_extra() -> None:
    script = (
        "import sys\n"
        "sys.modules['asyncmy'] = None\n"
        "from sqlalchemy import make_url\n"
        "from fieldstation.core.clock import SystemClock\n"
        "from fieldstation.domains.telemetry.store.mariadb import MariadbReadingStore\n"
        "MariadbReadingStore(make_url('mariadb://x/y'), node_id='n', clock=SystemClock())\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "fieldstation[mariadb]" in ended.stderr
