"""A store with readings of its own, and what exports them in the background."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

import pytest

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Busy
from fieldstation.core.settings import ExportSettings
from fieldstation.db.database import Database
from fieldstation.domains.exports.jobs import ExportWorker, open_exports
from fieldstation.domains.exports.service import ExportDesk
from fieldstation.domains.telemetry.ports import Columns, SeriesRow, Variant
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.contracts.reading_databases import START, reading_database
from tests.contracts.readings import NOON_US, SECOND_US, Given, append, make_series
from tests.wait_until import wait_until

READINGS = 50_000


class TellingStore(SqliteReadingStore):
    """Says when a stream ends, can be away, and can stand still after a stream's first block."""

    is_away = False
    stands_still = False
    streams_ended = 0

    async def stream(
        self, series: Sequence[SeriesRow], *, start_us: int, end_us: int, rows_max: int = 10_000
    ) -> AsyncGenerator[Columns, None]:
        try:
            if self.is_away:
                raise Busy("The database is away.")
            blocks = super().stream(series, start_us=start_us, end_us=end_us, rows_max=rows_max)
            async for block in blocks:
                yield block
                await wait_until(lambda: not self.stands_still)
        finally:
            self.streams_ended += 1


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TellingStore]:
    """A store with readings of two series."""
    path = tmp_path / "readings.db"
    async with reading_database(f"sqlite:///{path}") as database:
        store = TellingStore(path, node_id="node-a", clock=database.clock)
        await store.open()
        await fill(store)
        yield store
        await store.close()


async def fill(store: TellingStore) -> None:
    series = await make_series(store, 2)
    await store.resolve_variants([(row.id, Variant(None, None, "http")) for row in series])
    for start in range(0, READINGS, 10_000):
        await append(
            store,
            [
                Given(series[at % 2].id, NOON_US + at * SECOND_US, float(at))
                for at in range(start, start + 10_000)
            ],
        )


class Exports:
    """One node's desk and workers over the same rows and files."""

    def __init__(self, database: Database, store: TellingStore, tmp_path: Path) -> None:
        self.database = database
        self.store = store
        self.clock = ManualClock(START)
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
def exports(own_database: Database, store: TellingStore, tmp_path: Path) -> Exports:
    return Exports(own_database, store, tmp_path)
