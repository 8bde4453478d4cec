"""Brings a database to the newest schema, and tells whether it is there."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from fieldstation.core.errors import Busy
from fieldstation.db.database import sql_state
from fieldstation.tables import METADATA

LOCK_KEY = 0x6669656C64  # "field": two nodes that start together upgrade one after the other
BUSY_TIMEOUT_MS = 5_000
NOT_LET_IN = ("3D", "28")
"""SQLSTATE classes: no such database, no such user or a wrong password."""
AWAY = "The database does not answer; start it, or set DATABASE_URL right."


async def upgrade(url: URL, target: str) -> None:
    """Apply what is missing, in one transaction.

    Raises ``Busy`` when the database does not answer.
    """
    await on_connection(url, lambda connection: run_upgrade(connection, target))


async def pending_revisions(url: URL, target: str) -> list[str]:
    """Return the revisions that are not applied yet, oldest first. Raises ``Busy``."""
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


def run_upgrade(connection: Connection, target: str) -> None:
    command.upgrade(configuration(connection, target), "head")


def missing(connection: Connection, target: str) -> list[str]:
    script = ScriptDirectory.from_config(configuration(connection, target))
    context = MigrationContext.configure(
        connection, opts={"version_table": f"schema_version_{target}"}
    )
    current = context.get_current_revision()
    walked = script.walk_revisions(base=current or "base", head="head")
    return [step.revision for step in reversed(list(walked)) if step.revision != current]


def differences(connection: Connection, target: str) -> list[object]:
    """Return how the tables differ from the models; empty when a migration covers every model."""
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": f"schema_version_{target}",
            "include_name": lambda name, kind, _: (
                kind != "table" or name in METADATA[target].tables
            ),
        },
    )
    return list(compare_metadata(context, METADATA[target]))


def configuration(connection: Connection, target: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    config.attributes["target"] = target
    return config
