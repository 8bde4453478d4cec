"""The unit of work: one transaction per request, batch or job, committed before anybody is told."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from fieldstation.core.errors import Busy, Invalid, disk_full
from fieldstation.core.events import Event, Publish
from fieldstation.db.engines import Engines

EVENTS = "fieldstation.events"


Session = AsyncSession
"""What services take; they know nothing else of the database."""


class Database:
    """Hands out sessions; nothing else in the station commits."""

    def __init__(self, engines: Engines, publish: Publish) -> None:
        self._engines = engines
        self._publish = publish

    @property
    def dialect(self) -> str:
        """The database's name: ``sqlite`` or ``postgresql``."""
        return self._engines.writer.dialect.name

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a writing session; commit at the end, then publish what was announced in it.

        Raises ``Busy`` when the database is away, locked or has no connection left in time; then
        nothing is stored.
        """
        async with open_session(self._engines.writer) as session:
            yield session
            await session.commit()
            events: list[Event] = session.info.get(EVENTS, [])
        for event in events:
            self._publish(event)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a session that cannot write. Raises ``Busy`` as above."""
        async with open_session(self._engines.reader) as session:
            yield session

    async def ping(self) -> None:
        """Ask the database for an answer. Raises ``Busy``."""
        async with self.reading() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection, readers first: on SQLite the last one to close checkpoints."""
        await self._engines.close()


def announce(session: AsyncSession, event: Event) -> None:
    """Publish a fact once the session's transaction is committed; forget it if it is not."""
    session.info.setdefault(EVENTS, []).append(event)


@asynccontextmanager
async def open_session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    try:
        async with AsyncSession(engine, expire_on_commit=False, info={}) as session:
            yield session
    except PoolTimeoutError as error:
        raise Busy("The database has no connection left; try again in a moment.") from error
    except IntegrityError:
        raise
    except DBAPIError as error:
        if sql_state(error) in HOLDS_NUL:
            raise Invalid("A text cannot hold the NUL character.", code="nul_in_text") from error
        if is_disk_full(error):
            raise disk_full() from error
        if is_unavailable(error):
            raise Busy(UNAVAILABLE, retry_after_s=2, code="database_unavailable") from error
        raise
    except OSError as error:
        raise Busy(UNAVAILABLE, retry_after_s=2, code="database_unavailable") from error


UNAVAILABLE = "The database does not answer; nothing was stored, try again in a moment."
HOLDS_NUL = frozenset({"22021", "22P05"})
SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
POSTGRESQL_DISK_FULL = "53100"
POSTGRESQL_AWAY = ("08", "57P", "53", "25006")


def sql_state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def is_disk_full(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or sql_state(error) == POSTGRESQL_DISK_FULL


def is_unavailable(error: DBAPIError) -> bool:
    """Tell an absent, full or locked database from a wrong statement."""
    if error.connection_invalidated:
        return True
    state = sql_state(error)
    if state is not None:
        return state.startswith(POSTGRESQL_AWAY)
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in SQLITE_AWAY
