"""Real databases for the reading stores.

An SQLite file, or a database on a server, emptied before each test.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from sqlalchemy import delete
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from fieldstation.core.clock import ManualClock
from fieldstation.core.settings import DatabaseSettings
from fieldstation.db.engines import create_engines, database_url
from fieldstation.domains.telemetry.models import telemetry_metadata
from fieldstation.domains.telemetry.store.expiry import ExpiryLimits
from fieldstation.domains.telemetry.store.flushing import FlushLimits
from fieldstation.domains.telemetry.store.mariadb import MariadbReadingStore
from fieldstation.domains.telemetry.store.postgresql import PostgresqlReadingStore
from fieldstation.domains.telemetry.store.rollups import RollupLimits
from fieldstation.domains.telemetry.store.sealing import SealLimits
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore

ReadingStoreUnderTest = SqliteReadingStore | PostgresqlReadingStore | MariadbReadingStore

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class ReadingDatabase:
    """One database that several stores may be opened on."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self.clock = ManualClock(START)
        self.flush_limits = FlushLimits()
        self.seal_limits = SealLimits()
        self.rollup_limits = RollupLimits()
        self.expiry_limits = ExpiryLimits()
        self._stores: list[ReadingStoreUnderTest] = []
        self._shared: dict[str, ReadingStoreUnderTest] = {}
        self._numbers = count()

    def make(
        self, node_id: str = "node-a", *, writes_waiting_max: int = 64, reads_waiting_max: int = 64
    ) -> ReadingStoreUnderTest:
        """Make a store that is not open yet; it is closed with the database."""
        store: ReadingStoreUnderTest
        if self.kind == "sqlite":
            store = SqliteReadingStore(
                Path(self.url.removeprefix("sqlite:///")),
                node_id=node_id,
                clock=self.clock,
                writes_waiting_max=writes_waiting_max,
                reads_waiting_max=reads_waiting_max,
            )
        elif self.kind == "mariadb":
            store = MariadbReadingStore(
                async_url(self.url),
                node_id=node_id,
                clock=self.clock,
                writes_waiting_max=writes_waiting_max,
                reads_waiting_max=reads_waiting_max,
            )
        else:
            store = PostgresqlReadingStore(
                self.url,
                node_id=node_id,
                clock=self.clock,
                writes_waiting_max=writes_waiting_max,
                reads_waiting_max=reads_waiting_max,
            )
        store.flush_limits = self.flush_limits
        store.seal_limits = self.seal_limits
        store.rollup_limits = self.rollup_limits
        store.expiry_limits = self.expiry_limits
        self._stores.append(store)
        return store

    async def open(self, node_id: str = "node-a") -> ReadingStoreUnderTest:
        store = self.make(node_id)
        await store.open()
        return store

    async def shared(self, node_id: str) -> ReadingStoreUnderTest:
        """Return the node's store, opened once for all examples of a property."""
        if node_id not in self._shared:
            self._shared[node_id] = await self.open(node_id)
        return self._shared[node_id]

    async def restart(self, node_id: str) -> None:
        """Close the node's shared store and open another one in its place."""
        store = self._shared.pop(node_id)
        await store.close()
        self._stores.remove(store)
        await self.shared(node_id)

    def new_name(self) -> str:
        """Return a name that nothing in this database has yet."""
        return f"name-{next(self._numbers)}"

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


def async_url(url: str) -> URL:
    """Return a test's URL with the driver that the station uses."""
    return database_url(url, data_dir=Path())


@asynccontextmanager
async def reading_database(url: str) -> AsyncGenerator[ReadingDatabase, None]:
    """Make the tables, or empty them, and close every store at the end."""
    kind = async_url(url).get_backend_name()
    engines = create_engines(async_url(url), DatabaseSettings())
    async with engines.writer.begin() as connection:
        await connection.run_sync(telemetry_metadata.create_all)
        await empty_tables(connection, kind)
    await engines.close()
    database = ReadingDatabase(kind, url)
    yield database
    await database.close()


async def empty_tables(connection: AsyncConnection, kind: str) -> None:
    if kind == "postgresql":
        names = ", ".join(telemetry_metadata.tables)
        await connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
    if kind == "mariadb":
        for table in telemetry_metadata.tables.values():
            await connection.execute(delete(table))
        await connection.exec_driver_sql("ALTER TABLE series AUTO_INCREMENT = 1")
