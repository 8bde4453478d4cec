"""Real databases for the reading stores.

An SQLite file, or a PostgreSQL database emptied before each test.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from fieldstation.core.clock import ManualClock
from fieldstation.domains.telemetry.models import telemetry_metadata
from fieldstation.domains.telemetry.store.flushing import FlushLimits
from fieldstation.domains.telemetry.store.postgresql import PostgresqlReadingStore
from fieldstation.domains.telemetry.store.sealing import SealLimits
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore

ReadingStoreUnderTest = SqliteReadingStore | PostgresqlReadingStore

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class ReadingDatabase:
    """One database that several stores may be opened on."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self.clock = ManualClock(START)
        self.flush_limits = FlushLimits()
        self.seal_limits = SealLimits()
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


@asynccontextmanager
async def reading_database(url: str) -> AsyncGenerator[ReadingDatabase, None]:
    """Make the tables, or empty them, and close every store at the end."""
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    kind, _, rest = url.partition("://")
    engine = create_async_engine(f"{driver[kind]}://{rest}")
    async with engine.begin() as connection:
        await connection.run_sync(telemetry_metadata.create_all)
        if kind == "postgresql":
            names = ", ".join(telemetry_metadata.tables)
            await connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
    await engine.dispose()
    database = ReadingDatabase(kind, url)
    yield database
    await database.close()
