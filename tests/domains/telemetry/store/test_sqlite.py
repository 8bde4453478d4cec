"""What only the SQLite store does."""

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from fieldstation.core.errors import Busy
from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.ports import Order
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from fieldstation.domains.telemetry.store.sqlite_connections import (
    Reading,
    connect_reader,
    connect_writer,
    naming_errors,
)
from fieldstation.domains.telemetry.store.steps import Query, Steps
from fieldstation.migrations.upgrade import upgrade
from tests.contracts.expiries import expire
from tests.contracts.reading_databases import ReadingDatabase, reading_database
from tests.contracts.readings import (
    DAY_US,
    FOREVER,
    NOON_US,
    Given,
    append,
    everything,
    make_series,
    rows_of,
)
from tests.contracts.seals import AT_ONCE, seal_all
from tests.wait_until import wait_until_blocking

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[ReadingDatabase]:
    async with reading_database(f"sqlite:///{tmp_path / 'telemetry.db'}") as database:
        yield database


@contextmanager
def files_limited_to(size_bytes: int) -> Generator[None, None, None]:
    """Let no file grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk_refuses_and_recovers_by_itself(
    database: ReadingDatabase, tmp_path: Path
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    kept = [Given(series.id, NOON_US + at, at / 3) for at in range(100)]
    refused = [Given(series.id, NOON_US + 1_000 + at, at / 3) for at in range(5_000)]
    await append(store, kept)

    with files_limited_to((tmp_path / "telemetry.db-wal").stat().st_size + 10_000):
        for _ in range(3):
            with pytest.raises(Busy, match="free some space"):
                await append(store, refused)
        assert await everything(store, [series]) == kept

    assert await append(store, refused) is None
    assert await everything(store, [series]) == [*kept, *refused]
    assert await store.log_bounds() == {"node-a": (1, 2)}


async def test_missing_tables_are_no_passing_trouble(tmp_path: Path) -> None:
    database = ReadingDatabase("sqlite", f"sqlite:///{tmp_path / 'empty.db'}")
    store = database.make()

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await store.open()

    await database.close()


async def test_unreachable_file_is_busy(tmp_path: Path) -> None:
    database = ReadingDatabase("sqlite", f"sqlite:///{tmp_path / 'missing' / 'telemetry.db'}")

    with pytest.raises(Busy):
        await database.make().open()

    await database.close()


def test_writer_is_durable_and_readers_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    writer = connect_writer(path, checkpoint_pages=10)
    writer.execute("CREATE TABLE t (x)")
    reader = connect_reader(path)

    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO t VALUES (1)")

    reader.close()
    writer.close()


def endless() -> Steps[list[object]]:
    """Ask for more rows than anybody can wait for."""
    rows = yield Query(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"
    )
    return list(rows)


def test_read_that_is_given_up_stops(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    connect_writer(path, checkpoint_pages=10).close()
    connection = connect_reader(path)
    reading = Reading(endless())
    ended: list[type[BaseException]] = []

    def run() -> None:
        with pytest.raises(Busy) as raised, naming_errors():
            reading.run(connection)
        ended.append(raised.type)

    thread = threading.Thread(target=run)
    thread.start()

    def stopped() -> bool:
        reading.give_up()
        return bool(ended)

    wait_until_blocking(stopped)
    thread.join()
    # The connection serves the next one.
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.close()


def test_read_that_was_given_up_before_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    connect_writer(path, checkpoint_pages=10).close()
    connection = connect_reader(path)
    reading = Reading(endless())
    reading.give_up()

    with pytest.raises(Busy, match="given up"):
        reading.run(connection)

    connection.close()


async def test_loop_stays_free_while_the_store_works(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at, at / 3) for at in range(20_000)]
    turns = 0
    async with asyncio.TaskGroup() as group:
        running = group.create_task(append(store, given), name="append")
        while not running.done():
            await asyncio.sleep(0)
            turns += 1

    assert running.result() is None
    assert turns > 10


async def migrated(tmp_path: Path, name: str) -> ReadingDatabase:
    url = f"sqlite:///{tmp_path / name}"
    await upgrade(database_url(url, data_dir=tmp_path), "telemetry")
    return ReadingDatabase("sqlite", url)


def pages_of(path: Path) -> tuple[int, int]:
    """Return how many pages a file has, and how many of them are free."""
    with closing(sqlite3.connect(path)) as connection:
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        ((free,),) = connection.execute("PRAGMA freelist_count").fetchall()
    return pages, free


async def fill_and_seal(store: SqliteReadingStore) -> list[Given]:
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at * 1_000_000, at % 7 / 10) for at in range(60_000)]
    await append(store, given)
    await store.flush()
    store.seal_limits = AT_ONCE
    await seal_all(store)
    return given


async def test_free_pages_are_given_back_in_steps_and_some_are_kept(tmp_path: Path) -> None:
    database = await migrated(tmp_path, "new.db")
    store = SqliteReadingStore(
        tmp_path / "new.db", node_id="node-a", clock=database.clock, free_pages_kept=20
    )
    await store.open()
    given = await fill_and_seal(store)
    (series,) = await make_series(store, 1)
    before = pages_of(tmp_path / "new.db")

    for _ in range(5):
        assert await store.seal_slice() == 0

    pages, free = pages_of(tmp_path / "new.db")
    assert (pages + before[1] - 20, free) == (before[0], 20)
    assert await everything(store, [series]) == given
    await store.close()
    assert (tmp_path / "new.db").stat().st_size == pages * 4_096


async def test_a_file_from_before_stays_as_long_as_it_is(
    database: ReadingDatabase, tmp_path: Path
) -> None:
    path = tmp_path / "telemetry.db"
    store = SqliteReadingStore(path, node_id="node-a", clock=database.clock, free_pages_kept=0)
    await store.open()
    await fill_and_seal(store)
    before = pages_of(path)
    assert before[1] > 100

    assert await store.seal_slice() == 0

    assert pages_of(path) == before
    await store.close()


async def test_a_file_shrinks_once_old_readings_are_gone(tmp_path: Path) -> None:
    database = await migrated(tmp_path, "new.db")
    path = tmp_path / "new.db"
    store = SqliteReadingStore(path, node_id="node-a", clock=database.clock, free_pages_kept=0)
    await store.open()
    given = await fill_and_seal(store)
    (series,) = await make_series(store, 1)
    # All 53 bits of each are noise, so that readings are what the file holds.
    noise = Random(7)  # noqa: S311 - readings, not secrets
    rows = [row._replace(ts_us=row.ts_us + 1, value=noise.random()) for row in given]
    newest = Given(series.id, NOON_US + 3 * DAY_US, 1.0)
    await append(store, [*rows, newest])
    await store.flush()
    await seal_all(store)
    # The newest entry of the log stays.
    await append(store, [newest._replace(ts_us=newest.ts_us + 1)])
    await store.flush()
    while await store.trim_log(before_us=database.clock.now_us() + 1):
        pass
    while await store.roll_up(before_us=newest.ts_us):
        pass
    for _ in range(5):
        await store.seal_slice()
    full, _ = pages_of(path)

    await expire(store, [series], newest.ts_us)
    for _ in range(5):
        await store.seal_slice()

    pages, free = pages_of(path)
    assert free == 0
    assert pages < full / 2
    assert rows_of(await store.page([series], **FOREVER, order=Order.OLDEST_FIRST, limit=9)) == [
        newest,
        newest._replace(ts_us=newest.ts_us + 1),
    ]
    await store.close()
    assert path.stat().st_size == pages * 4_096
