"""Brings a database to the newest schema, and tells whether it is there."""

import sqlite3
from collections.abc import Callable
from contextlib import nullcontext

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from fieldstation.core.errors import Busy
from fieldstation.db import mariadb
from fieldstation.db.database import sql_state
from fieldstation.db.engines import server_engine
from fieldstation.db.mariadb_upgrades import (
    marked,
    refuse_interrupted,
    wait_for_other_nodes,
)
from fieldstation.migrations.revisions import missing

LOCK_KEY = 0x6669656C64  # "field": two nodes that start together upgrade one after the other
BUSY_TIMEOUT_MS = 5_000
NOT_LET_IN = ("3D", "28")
"""SQLSTATE classes: no such database, no such user or a wrong password."""
AWAY = "The database does not answer; start it, or set DATABASE_URL right."


async def upgrade(url: URL, target: str) -> None:
    """Apply what is missing: in one transaction, but on MariaDB, which has none for this.

    Raises ``Busy`` when the database does not answer, ``Conflict`` when it is of a newer version or
    an upgrade of it was cut off.
    """
    await on_connection(url, lambda connection: apply_missing(connection, target))


async def pending_revisions(url: URL, target: str) -> list[str]:
    """Return the revisions that are not applied yet, oldest first.

    Raises ``Busy`` and ``Conflict`` as above.
    """
    found: list[str] = []
    await on_connection(url, lambda connection: found.extend(lacking(connection, target)))
    return found


async def on_connection(url: URL, work: Callable[[Connection], object]) -> None:
    if url.get_backend_name() == "sqlite":
        run_on_sqlite(url, work)
        return
    engine = server_engine(url, command_timeout_s=None, poolclass=NullPool)
    run = on_mariadb if url.get_backend_name() == mariadb.BACKEND else on_postgresql
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run, work)
    except (OSError, DBAPIError) as error:
        reason = why_not(error)
        if reason is None:
            raise
        raise Busy(reason) from error
    finally:
        await engine.dispose()


def why_not(error: OSError | DBAPIError) -> str | None:
    """Say what to do about a server that does not answer or does not let the station in."""
    if not isinstance(error, DBAPIError):
        return AWAY
    number = mariadb.error_number(error.orig)
    reason = error.orig.args[-1] if error.orig and error.orig.args else error.orig
    if str(sql_state(error)).startswith(NOT_LET_IN) or number in mariadb.NOT_LET_IN:
        return f"{reason}; create it, or set DATABASE_URL right."
    if number == mariadb.TLS_FAILED:
        return f"{reason}; name the authority of its certificate with ssl_ca in DATABASE_URL."
    if number is not None:
        return AWAY if number in mariadb.AWAY else None
    return AWAY if isinstance(error, OperationalError) else None


def on_postgresql(connection: Connection, work: Callable[[Connection], object]) -> None:
    connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY})"))
    work(connection)
    connection.commit()


def on_mariadb(connection: Connection, work: Callable[[Connection], object]) -> None:
    wait_for_other_nodes(connection)
    work(connection)
    connection.commit()


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
    if not lacking(connection, target):
        return
    # Alembic is an eighth of a start, and hardly any start finds something missing.
    from fieldstation.migrations.chain import run_upgrade  # noqa: PLC0415

    can_undo = connection.dialect.name != mariadb.BACKEND
    with nullcontext() if can_undo else marked(connection, target):
        run_upgrade(connection, target)


def lacking(connection: Connection, target: str) -> tuple[str, ...]:
    """Return the missing revisions. Raises ``Conflict`` where nobody can go on."""
    if connection.dialect.name == mariadb.BACKEND:
        refuse_interrupted(connection, target)
    return missing(connection, target)
