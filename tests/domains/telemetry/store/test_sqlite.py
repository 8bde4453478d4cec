"""What only the SQLite store does."""

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.store.sqlite_connections import (
    Reading,
    connect_reader,
    connect_writer,
    naming_errors,
)
from fieldstation.domains.telemetry.store.steps import Query, Steps
from tests.contracts.reading_databases import ReadingDatabase, reading_database
from tests.contracts.readings import NOON_US, Given, append, everything, make_series
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
