"""A store with readings of its own, and what exports them in the background."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fieldstation.core.clock import ManualClock
from fieldstation.core.settings import ExportSettings
from fieldstation.db.database import Database
from fieldstation.domains.exports.jobs import ExportWorker, open_exports
from fieldstation.domains.exports.service import ExportDesk
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.contracts.reading_databases import ReadingDatabase, reading_database
from tests.contracts.readings import NOON_US, SECOND_US, Given, append, make_series

READINGS = 50_000


@pytest.fixture
async def readings(tmp_path: Path) -> AsyncIterator[ReadingDatabase]:
    async with reading_database(f"sqlite:///{tmp_path / 'readings.db'}") as database:
        yield database


@pytest.fixture
async def store(readings: ReadingDatabase) -> SqliteReadingStore:
    """A store with readings of two series."""
    store = await readings.open()
    assert isinstance(store, SqliteReadingStore)
    series = await make_series(store, 2)
    for start in range(0, READINGS, 10_000):
        await append(
            store,
            [
                Given(series[at % 2].id, NOON_US + at * SECOND_US, float(at))
                for at in range(start, start + 10_000)
            ],
        )
    return store


class Exports:
    """One node's desk and workers over the same rows and files."""

    def __init__(self, database: Database, store: SqliteReadingStore, tmp_path: Path) -> None:
        self.database = database
        self.store = store
        self.clock = ManualClock(ReadingDatabase("sqlite", "").clock.now())
        self.directory = tmp_path / "exports"

    def open(self, node_id: str = "node-a", **settings: object) -> tuple[ExportDesk, ExportWorker]:
        return open_exports(
            self.database,
            self.store,
            self.directory,
            clock=self.clock,
            settings=ExportSettings.model_validate(settings),
            node_id=node_id,
        )


@pytest.fixture
def exports(own_database: Database, store: SqliteReadingStore, tmp_path: Path) -> Exports:
    return Exports(own_database, store, tmp_path)
