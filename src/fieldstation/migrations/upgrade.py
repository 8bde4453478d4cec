"""Brings a database to the newest schema, and tells whether it is there."""

import sqlite3
from collections.abc import Callable

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from fieldstation.core.errors import Busy
from fieldstation.db.database import sql_state
from fieldstation.migrations.revisions import missing

LOCK_KEY = 0x6669656C64  # "field": two nodes that start together upgrade one after the other
BUSY_TIMEOUT_MS = 5_000
NOT_LET_IN = ("3D", "28")
"""SQLSTATE classes: no such database, no such user or a wrong password."""
AWAY = "The database does not answer; start it, or set DATABASE_URL right."


async def upgrade(url: URL, target: str) -> None:
    """Apply what is missing, in one transaction.

    Raises ``Busy`` when the database does not answer, ``Conflict`` when it is of a newer version.
    """
    await on_connection(url, lambda connection: apply_missing(connection, target))


async def pending_revisions(url: URL, target: str) -> list[str]:
    """Return the revisions that are not applied yet, oldest first.

    Raises ``Busy`` and ``Conflict`` as above.
    """
    found: list[str] = []
    await on_connection(url, lambda connection: found.extend(missing(connection, target)))
    return found


async def on_connection(url: URL, work: Callable[[Connection], object]) -> None:
    if url.get_backend_name() == "sqlite":
        run_on_sqlite(url, work)
        return
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY})"))
            await connection.run_sync(work)
    except (OSError, OperationalError) as error:
        raise Busy(AWAY) from error
    except DBAPIError as error:
        if not str(sql_state(error)).startswith(NOT_LET_IN):
            raise
        raise Busy(f"{error.orig}; create it, or set DATABASE_URL right.") from error
    finally:
        await engine.dispose()


def run_on_sqlite(url: URL, work: Callable[[Connection], object]) -> None:
    """SQLite in this thread: a few milliseconds, before anything else runs."""
    engine = create_engine(url.set(drivername="sqlite"), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        # Lets free pages be given back in small steps; only a file that is still empty takes it.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            work(connection)
    except DatabaseError as error:
        raise Busy(f"The database file {url.database} cannot be used ({error.orig}).") from error
    finally:
        engine.dispose()


def apply_missing(connection: Connection, target: str) -> None:
    if not missing(connection, target):
        return
    # Alembic is an eighth of a start, and hardly any start finds something missing.
    from fieldstation.migrations.chain import run_upgrade  # noqa: PLC0415

    run_upgrade(connection, target)
