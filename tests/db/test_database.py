"""One transaction a piece of work: committed before anybody is told, or as if it had never been."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.core.clock import us_to_instant
from fieldstation.core.errors import Busy
from fieldstation.core.events import Event
from fieldstation.core.settings import DatabaseSettings
from fieldstation.db.database import Database, announce, is_unavailable
from fieldstation.db.engines import create_engines, database_url
from fieldstation.db.jobs import Job
from tests.db.conftest import START, Announced
from tests.services import on_mariadb
from tests.station_database import empty_database
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


class Happened(Event, frozen=True, kw_only=True, tag=True):
    """A fact of these tests."""

    name: str


def job(name: str = "tidy") -> Job:
    return Job(name=name, due_at=START)


async def count_jobs(database: Database) -> int:
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(Job)) or 0


async def test_what_a_transaction_wrote_is_there_afterwards(database: Database) -> None:
    async with database.transaction() as session:
        session.add(job())
    assert await count_jobs(database) == 1


async def test_a_failure_leaves_nothing_behind(database: Database, announced: Announced) -> None:

    async def fail() -> None:
        async with database.transaction() as session:
            session.add(job())
            announce(session, Happened(name="never"))
            await session.flush()
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await count_jobs(database) == 0
    assert announced == []


async def test_events_are_published_in_order_and_only_after_the_commit(
    database: Database, announced: Announced
) -> None:
    async with database.transaction() as session:
        announce(session, Happened(name="first"))
        session.add(job())
        announce(session, Happened(name="second"))
        await session.flush()
        assert announced == []
    assert announced == [Happened(name="first"), Happened(name="second")]


async def test_a_listener_already_sees_the_committed_rows(url: URL, database: Database) -> None:
    seen: list[int] = []
    tasks: list[asyncio.Future[int]] = []

    def look(_event: Event) -> None:
        tasks.append(asyncio.ensure_future(count_jobs(database)))  # noqa: TID251 - awaited below

    told = Database(create_engines(url, DatabaseSettings()), look)
    async with told.transaction() as session:
        session.add(job())
        announce(session, Happened(name="written"))
    seen.extend(await asyncio.gather(*tasks))
    await told.close()
    assert seen == [1]


async def test_a_commit_that_fails_announces_nothing(
    database: Database, announced: Announced
) -> None:
    async with database.transaction() as session:
        session.add(job())

    async def fail_to_commit() -> None:
        async with database.transaction() as session:
            session.add(job())  # the same key: found out when the commit flushes
            announce(session, Happened(name="never"))

    with pytest.raises(IntegrityError):
        await fail_to_commit()
    assert announced == []
    assert await count_jobs(database) == 1


async def test_cancellation_leaves_nothing_behind_and_the_connection_usable(
    database: Database, announced: Announced
) -> None:
    started = asyncio.Event()

    async def write_and_wait() -> None:
        async with database.transaction() as session:
            session.add(job())
            announce(session, Happened(name="never"))
            await session.flush()
            started.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(write_and_wait(), name="writing")
        await started.wait()
        writing.cancel()
    assert await count_jobs(database) == 0
    assert announced == []


async def test_a_reading_session_stores_nothing(database: Database) -> None:
    try:
        async with database.reading() as session:
            session.add(job())
            await session.flush()
    except (Busy, DBAPIError):
        pass  # SQLite says no at once; on servers reader and writer are one pool
    assert await count_jobs(database) == 0


async def test_a_reading_session_refuses_even_to_commit(database: Database) -> None:

    async def write() -> None:
        async with database.reading() as session:
            session.add(job())
            await session.commit()

    with pytest.raises((Busy, DBAPIError)):
        await write()
    assert await count_jobs(database) == 0


async def test_ping_answers_while_the_database_does(database: Database) -> None:
    await database.ping()
    assert database.dialect in {"sqlite", "postgresql", "mariadb"}


async def begin(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1"))


async def test_instants_survive_the_database_to_the_microsecond(database: Database) -> None:
    exact = us_to_instant(1_777_777_777_123_457)
    async with database.transaction() as session:
        session.add(Job(name="exact", due_at=exact))
    async with database.reading() as session:
        assert await session.scalar(select(Job.due_at).where(Job.name == "exact")) == exact


async def test_an_instant_without_a_zone_is_a_defect(database: Database) -> None:
    with pytest.raises(StatementError, match="must be aware"):
        async with database.transaction() as session:
            session.add(Job(name="naive", due_at=START.replace(tzinfo=None)))


@pytest.fixture
async def sqlite(tmp_path: Path, announced: Announced) -> AsyncIterator[Database]:
    url = database_url(None, data_dir=tmp_path)
    database = Database(
        create_engines(url, DatabaseSettings(DATABASE_POOL_TIMEOUT_S="0.3")), announced.publish
    )
    async with database.transaction() as session:
        await session.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY, words TEXT)"))
    yield database
    await database.close()


def connection_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_connection_worker" in thread.name]


class TestSqlite:
    """What only SQLite needs: one writer, at once, durably."""

    async def test_one_connection_writes_and_the_next_waits_for_it(self, sqlite: Database) -> None:
        async def write() -> None:
            async with sqlite.transaction() as session:
                await begin(session)

        async with sqlite.transaction() as first:
            await begin(first)
            with pytest.raises(Busy, match="no connection left"):
                await write()

    async def test_readers_go_on_while_one_writes(self, sqlite: Database) -> None:
        async with sqlite.transaction() as writer:
            await writer.execute(text("INSERT INTO note (words) VALUES ('draft')"))
            async with sqlite.reading() as reader:
                assert await reader.scalar(text("SELECT count(*) FROM note")) == 0
        async with sqlite.reading() as reader:
            assert await reader.scalar(text("SELECT count(*) FROM note")) == 1

    async def test_writing_takes_the_lock_at_the_start_not_at_the_first_write(
        self, sqlite: Database, tmp_path: Path
    ) -> None:
        other = sqlite3.connect(tmp_path / "station.db", timeout=0, isolation_level=None)
        async with sqlite.transaction() as writer:
            await begin(writer)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        other.close()

    async def test_a_reading_session_takes_no_lock(self, sqlite: Database, tmp_path: Path) -> None:
        other = sqlite3.connect(tmp_path / "station.db", timeout=0, isolation_level=None)
        async with sqlite.reading() as reader:
            await reader.execute(text("SELECT count(*) FROM note"))
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO note (words) VALUES ('meanwhile')")
            other.execute("COMMIT")
            assert await reader.scalar(text("SELECT count(*) FROM note")) == 0
        other.close()

    async def test_commits_are_durable_and_in_a_log_of_their_own(self, sqlite: Database) -> None:
        async with sqlite.transaction() as session:
            mode = await session.scalar(text("PRAGMA journal_mode"))
            synchronous = await session.scalar(text("PRAGMA synchronous"))
            foreign_keys = await session.scalar(text("PRAGMA foreign_keys"))
        assert (mode, synchronous, foreign_keys) == ("wal", 2, 1)

    async def test_a_file_that_another_program_holds_is_busy(
        self, sqlite: Database, tmp_path: Path
    ) -> None:
        other = sqlite3.connect(tmp_path / "station.db", isolation_level=None)
        async with sqlite.transaction() as session:  # opens the connection
            await session.execute(text("PRAGMA busy_timeout=50"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy) as refused:
            async with sqlite.transaction() as session:
                await begin(session)
        other.close()
        assert refused.value.code == "database_unavailable"
        assert refused.value.retry_after_s == 2

    async def test_a_file_that_cannot_be_opened_is_busy(self, tmp_path: Path) -> None:
        url = database_url(f"sqlite:///{tmp_path}/not/there.db", data_dir=tmp_path)
        database = Database(create_engines(url, DatabaseSettings()), lambda _event: None)
        with pytest.raises(Busy):
            await database.ping()
        await database.close()
        await wait_until(lambda: not connection_threads())

    async def test_a_wrong_statement_is_a_defect_and_not_busy(self, sqlite: Database) -> None:
        with pytest.raises(OperationalError):
            async with sqlite.reading() as session:
                await session.execute(text("SELECT * FROM nowhere"))


async def test_a_postgresql_that_is_not_there_is_busy(tmp_path: Path) -> None:
    url = database_url("postgresql://nobody@127.0.0.1:1/none", data_dir=tmp_path)
    database = Database(create_engines(url, DatabaseSettings()), lambda _event: None)
    with pytest.raises(Busy) as refused:
        await database.ping()
    assert refused.value.code == "database_unavailable"
    await database.close()


async def end_postgresql_connection(database: Database, session: AsyncSession) -> None:
    backend = await session.scalar(text("SELECT pg_backend_pid()"))
    async with database.transaction() as other:
        await other.execute(text(f"SELECT pg_terminate_backend({int(backend or 0)})"))


async def end_mariadb_connection(_database: Database, session: AsyncSession) -> None:
    await on_mariadb(f"KILL {await session.scalar(text('SELECT CONNECTION_ID()'))}")


@pytest.mark.parametrize(
    ("own_url", "end_connection"),
    [
        ("own_postgresql_url", end_postgresql_connection),
        ("own_mariadb_url", end_mariadb_connection),
    ],
)
async def test_a_connection_that_was_ended_is_busy_then_new(
    own_url: str,
    end_connection: Callable[[Database, AsyncSession], Awaitable[None]],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    url = database_url(request.getfixturevalue(own_url), data_dir=tmp_path)
    database = Database(create_engines(url, DatabaseSettings()), lambda _event: None)

    async def lose_the_connection() -> None:
        async with database.transaction() as session:
            await end_connection(database, session)
            await session.execute(text("SELECT 1"))

    with pytest.raises(Busy):
        await lose_the_connection()

    async def answers() -> bool:
        await database.ping()
        return True

    await wait_until(answers)
    await database.close()


async def test_a_row_that_another_mariadb_session_holds_is_busy(
    own_mariadb_url: str, tmp_path: Path
) -> None:
    url = database_url(own_mariadb_url, data_dir=tmp_path)

    async def want_it() -> None:
        async with database.transaction() as session:
            await session.execute(text("SET SESSION innodb_lock_wait_timeout = 0"))
            await session.execute(select(Job).with_for_update())

    async with empty_database(url) as database:
        async with database.transaction() as session:
            session.add(job())
        async with database.transaction() as holder:
            await holder.execute(select(Job).with_for_update())
            with pytest.raises(Busy) as refused:
                await want_it()
    assert refused.value.code == "database_unavailable"


async def test_every_database_tells_texts_apart(database: Database) -> None:
    """By case, by accents and by the spaces at their ends, in keys and when asked."""
    names = ["ada", "Ada", "áda", "ada ", "ada\u0301"]
    async with database.transaction() as session:
        session.add_all(job(name) for name in names)
    async with database.reading() as session:
        for name in names:
            assert (await session.scalars(select(Job.name).where(Job.name == name))).all() == [name]


async def test_a_text_of_more_than_64_kib_survives_the_database(database: Database) -> None:
    long = "ä" * 100_000
    async with database.transaction() as session:
        session.add(Job(name="long", due_at=START, last_error=long))
    async with database.reading() as session:
        assert await session.scalar(select(Job.last_error)) == long


@pytest.mark.parametrize(
    ("code", "away"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_ERROR, False),
        (sqlite3.SQLITE_MISMATCH, False),
    ],
)
def test_only_what_says_that_the_database_is_away_counts_as_away(code: int, *, away: bool) -> None:
    error = sqlite3.OperationalError("no such column: disconnected_at")
    error.sqlite_errorcode = code
    assert is_unavailable(DBAPIError("SELECT 1", None, error)) is away
