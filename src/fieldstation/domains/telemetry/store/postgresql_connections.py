"""Connections to a PostgreSQL server, and running steps on them on the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from fieldstation.core.errors import Busy, disk_full
from fieldstation.domains.telemetry.store.driving import driven
from fieldstation.domains.telemetry.store.steps import (
    Insert,
    KeyTaken,
    Query,
    Row,
    Steps,
)

if TYPE_CHECKING:
    import asyncpg

CONNECT_TIMEOUT_S = 3.0
ACQUIRE_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0

SESSION = {
    "application_name": "fieldstation",
    # Whatever the server's default: what we acknowledge is on its disk.
    "synchronous_commit": "on",
    # Our statements are short and their plans depend on the arguments.
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
}

# Who appends holds this lock alone, who writes anything else shares it.
TOGETHER = "pg_advisory_xact_lock_shared(7308604757861180787)"
ALONE = "pg_advisory_xact_lock(7308604757861180787)"
ALONE_IF_FREE = "pg_try_advisory_xact_lock(7308604757861180787)"
# Held by the session of the node that flushes; it ends with that session.
FLUSHING = "pg_advisory_lock(7308604757861180788)"
FLUSHING_WAIT_MS = 10_000

Result = TypeVar("Result")


class NotEntered(Exception):
    """A statement that was to insert a row did not."""


class Server:
    """How to reach one database; raises ``Busy`` for whatever passes by itself."""

    def __init__(self, dsn: str, *, readers: int) -> None:
        self._dsn = dsn
        self._readers = readers
        self._asyncpg = load_driver()
        self._pool: asyncpg.Pool | None = None
        self._writer: asyncpg.Connection | None = None

    async def open(self) -> None:
        """Connect the readers."""
        with self.naming_errors():
            self._pool = await self._asyncpg.create_pool(
                self._dsn,
                min_size=self._readers,
                max_size=self._readers,
                max_inactive_connection_lifetime=0,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=READ_TIMEOUT_S,
                server_settings=SESSION | {"default_transaction_read_only": "on"},
                # Nobody changes a reading session, so there is nothing to reset.
                reset=_leave,
            )

    async def close(self) -> None:
        """Let reads finish for a while, then close every connection."""
        if self._pool is not None:
            with suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._pool.close(), CLOSE_TIMEOUT_S)
            self._pool.terminate()
        if self._writer is not None:
            self._writer.terminate()
        self._pool = self._writer = None

    @asynccontextmanager
    async def reading(self) -> "AsyncGenerator[asyncpg.Connection, None]":
        """Lend a pooled connection."""
        if self._pool is None:
            raise Busy("The telemetry database is not open.")
        with self.naming_errors():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                try:
                    yield connection
                except (self._asyncpg.InterfaceError, self._asyncpg.InternalClientError):
                    # The driver lost its place in the conversation: nobody may get this one again.
                    connection.terminate()
                    raise

    async def transact(
        self,
        work: "Callable[[asyncpg.Connection], Awaitable[Result]]",
        *,
        alone: bool = False,
        commit: Callable[[Result], str] = lambda _: "COMMIT",
    ) -> Result:
        """Run ``work`` in a transaction on the one writing connection.

        The caller never overlaps two. ``alone``: no other node's transaction runs meanwhile.
        ``commit`` gives the statement that commits a result.

        After anything but a success the connection is given up, and the server rolls back. When
        that happens during the commit nobody knows whether it took place; the caller has to look.
        """
        with self.naming_errors():
            async with self._lent_writer() as connection:
                await connection.execute(f"BEGIN; SELECT {ALONE if alone else TOGETHER}")
                result = await work(connection)
                await connection.execute(commit(result))
            return result

    async def enter(self, steps: Steps[Result], statement: str, *more: str) -> Result | None:
        """Run steps of which at most one inserts, a single row: by ``statement`` in its place, with
        ``more`` arguments behind the row's. It is its own transaction, and one turn where
        ``transact`` takes four.

        None, and nothing is written, when ``statement`` returns no row or a key is taken. The
        caller never overlaps two; after a failure it has to look, as there.
        """

        async def execute(step: Query | Insert) -> list[Row]:
            if isinstance(step, Query):
                return await connection.fetch(step.sql, *step.args)
            (row,) = zip(*step.columns, strict=True)
            if not await connection.fetch(statement, *row, *more):
                raise NotEntered
            return []

        with self.naming_errors():
            async with self._lent_writer() as connection:
                try:
                    return await driven(steps, execute)
                except (NotEntered, self._asyncpg.UniqueViolationError):
                    return None

    @asynccontextmanager
    async def _lent_writer(self) -> "AsyncGenerator[asyncpg.Connection, None]":
        """Lend the one writing connection; unless all goes well it is given up."""
        if self._writer is None or self._writer.is_closed():
            self._writer = await self._asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=WRITE_TIMEOUT_S,
                server_settings=SESSION,
            )
        connection, finished = self._writer, False
        try:
            yield connection
            finished = True
        finally:
            if not finished:
                self._writer = None
                connection.terminate()

    @asynccontextmanager
    async def session(self, **server_settings: str) -> "AsyncGenerator[asyncpg.Connection, None]":
        """Lend a connection of its own."""
        with self.naming_errors():
            connection = await self._asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=READ_TIMEOUT_S,
                server_settings=SESSION | server_settings,
            )
            try:
                yield connection
            finally:
                connection.terminate()

    @asynccontextmanager
    async def flushing_alone(self) -> AsyncGenerator[None, None]:
        """Keep every other node from flushing; waits ten seconds for one that does."""
        async with self.session(lock_timeout=str(FLUSHING_WAIT_MS)) as connection:
            await connection.execute(f"SELECT {FLUSHING}")
            yield

    async def drive(
        self, connection: "asyncpg.Connection", steps: Steps[Result], *, in_thread: bool = False
    ) -> Result:
        """Run steps to their result; what they compute runs beside the event loop if wanted."""
        return await driven(steps, lambda step: _execute(connection, step), in_thread=in_thread)

    @contextmanager
    def naming_errors(self) -> Generator[None, None, None]:
        """Translate what passes by itself to ``Busy`` and a taken key to ``KeyTaken``."""
        driver = self._asyncpg
        try:
            yield
        except (
            driver.UniqueViolationError,
            driver.DeadlockDetectedError,
            driver.SerializationError,
        ) as error:
            raise KeyTaken(str(error)) from error
        except (
            OSError,
            TimeoutError,
            driver.InterfaceError,
            # What the driver says of a session that was ended while idle.
            driver.InternalClientError,
            driver.PostgresConnectionError,
            driver.OperatorInterventionError,
            driver.InsufficientResourcesError,
            driver.PostgresSystemError,
            driver.ReadOnlySQLTransactionError,
            driver.LockNotAvailableError,
        ) as error:
            if isinstance(error, driver.DiskFullError):
                raise disk_full() from error
            reason = str(error) or type(error).__name__
            raise Busy(
                f"The telemetry database cannot be used now ({reason}); try again."
            ) from error


async def _execute(connection: "asyncpg.Connection", step: Query | Insert) -> list[Row]:
    if isinstance(step, Query):
        return await connection.fetch(step.sql, *step.args)
    if len(step.columns[0]) == 1:
        (row,) = zip(*step.columns, strict=True)
        await connection.execute(_row_text(step.table, step.names, step.on_conflict), *row)
        return []
    if step.on_conflict:
        text = _insert_text(step.table, step.names, step.on_conflict)
        await connection.execute(text, *step.columns)
        return []
    # In key order two nodes never wait for each other crosswise; the key's columns come first.
    records = sorted(zip(*step.columns, strict=True))
    await connection.copy_records_to_table(step.table.name, records=records, columns=step.names)
    return []


@lru_cache(maxsize=64)
def _insert_text(table: Table, names: tuple[str, ...], on_conflict: str) -> str:
    dialect = postgresql.dialect()
    kinds = [table.c[name].type.compile(dialect=dialect).split("(")[0] for name in names]
    arrays = ", ".join(f"${at}::{kind}[]" for at, kind in enumerate(kinds, start=1))
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    return f"{into} SELECT * FROM unnest({arrays}) {on_conflict}"


@lru_cache(maxsize=64)
def _row_text(table: Table, names: tuple[str, ...], on_conflict: str) -> str:
    marks = ", ".join(f"${at}" for at in range(1, len(names) + 1))
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks}) {on_conflict}"


def load_driver() -> Any:  # a module that need not be installed has no type
    """Import asyncpg, which only stations on PostgreSQL install."""
    try:
        return import_module("asyncpg")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "PostgreSQL needs an extra: pip install 'fieldstation[postgresql]'", name=error.name
        ) from error


async def _leave(_: object) -> None:
    """Give a connection back as it is."""
