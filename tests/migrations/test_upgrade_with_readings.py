"""Readings as a station of any earlier revision kept them are all there after the upgrade, and
summed up right, whatever is sealed and rolled up then."""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, insert, text
from sqlalchemy.engine import URL

from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.ports import Outcome
from fieldstation.domains.telemetry.store.rollups import RollupLimits
from fieldstation.domains.telemetry.store.sealing import SealLimits
from fieldstation.migrations.chain import configuration, differences
from fieldstation.migrations.revisions import REVISIONS
from fieldstation.migrations.upgrade import on_connection, upgrade
from tests.contracts.reading_databases import (
    ReadingDatabase,
    ReadingStoreUnderTest,
    reading_database,
)
from tests.contracts.readings import (
    DAY_US,
    FOREVER,
    HOUR_US,
    NOON_US,
    Given,
    append,
    everything,
    make_series,
)
from tests.contracts.seals import AT_ONCE, seal_all
from tests.contracts.test_reading_store_aggregates import buckets_by_hand, close_to, stats_by_hand
from tests.contracts.test_reading_store_flush import varied
from tests.contracts.test_reading_store_rollups_model import assert_near
from tests.migrations.test_upgrade_with_data import Rows, rows_in, tables_of, value_for
from tests.services import fresh_server_database

pytestmark = pytest.mark.anyio

CHUNKS, SEALED, ROLLUPS = "20261122_chunks", "20261130_sealed_chunks", "20261130_rollups"
SERIES = 3
READINGS = 600
DAY_AND_A_HALF = SealLimits(age_hours=-36, hours_together=1)
"""From noon of one day to the end of the next: nothing else of these days is left."""
LATER_US = NOON_US + 9 * DAY_US


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """An empty telemetry database."""
    if request.param == "sqlite":
        yield database_url(None, data_dir=tmp_path)
    else:
        with fresh_server_database(request.param) as address:
            yield database_url(address, data_dir=tmp_path)


@dataclass(frozen=True)
class Kept:
    """What a station had, and in which tables."""

    readings: list[Given]
    tables: Rows


async def kept_at(revision: str, file: Path) -> Kept:
    """Have the newest store do with readings what that of a revision did.

    The oldest are sealed and rolled up as far as it knew that, others are in chunks, and the newest
    only in the log.
    """
    done = REVISIONS[: REVISIONS.index(revision) + 1]
    async with reading_database(f"sqlite:///{file}") as database:
        database.seal_limits = DAY_AND_A_HALF
        store = await database.open()
        series = await make_series(store, SERIES)
        readings = varied(series, count=READINGS)
        await append(store, readings[: READINGS // 2])
        await store.flush()
        if ROLLUPS in done:
            await store.roll_up(before_us=NOON_US + DAY_US)
        if SEALED in done:
            assert await seal_all(store)
        await append(store, readings[READINGS // 2 : READINGS - 50])
        await store.flush()
        await append(store, readings[READINGS - 50 :])
    return Kept(readings, rows_of_file(file))


def rows_of_file(file: Path) -> Rows:
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]  # noqa: S608
            for (name,) in names
        }


def fill(connection: Connection, rows: Rows) -> None:
    """Put the rows into the tables that there are; one into each of which there are none."""
    for name, table in tables_of(connection).tables.items():
        connection.execute(table.delete())
        made = {column.name: value_for(column) for column in table.columns}
        for row in rows.get(name) or [made]:
            own = {column.name: row[column.name] for column in table.columns}
            connection.execute(insert(table).values(own))
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT setval('series_id_seq', (SELECT MAX(id) FROM series))"))


@asynccontextmanager
async def opened(url: URL) -> AsyncIterator[ReadingStoreUnderTest]:
    kind = url.get_backend_name()
    address = url.set(drivername=kind).render_as_string(hide_password=False)
    database = ReadingDatabase(kind, address)
    database.rollup_limits = RollupLimits(exact_readings_max=0)
    database.seal_limits = AT_ONCE
    try:
        yield await database.open()
    finally:
        await database.close()


async def demand_all(store: ReadingStoreUnderTest, expected: Sequence[Given]) -> None:
    """Demand every reading, and what they come to."""
    series = await store.find_series("org")
    assert await everything(store, series) == expected
    await demand_buckets(store, expected)
    for one in await store.stats(series, **FOREVER):
        own = [row for row in expected if row.series_id == one.series_id]
        assert_near(one, stats_by_hand(own), own)


async def demand_buckets(store: ReadingStoreUnderTest, expected: Sequence[Given]) -> None:
    series = await store.find_series("org")
    for interval_us in (HOUR_US, DAY_US):
        found = await store.buckets(series, **FOREVER, interval_us=interval_us)
        by_hand = buckets_by_hand(expected, interval_us)
        assert len(found) == len(by_hand)
        assert all(map(close_to, found, by_hand))


@pytest.mark.parametrize("revision", REVISIONS[REVISIONS.index(CHUNKS) : -1])
async def test_readings_of_every_earlier_revision_are_kept(
    url: URL, tmp_path: Path, revision: str
) -> None:
    kept = await kept_at(revision, tmp_path / "kept.db")
    before: Rows = {}
    after: Rows = {}
    different: list[Any] = []

    def build(connection: Connection) -> None:
        command.upgrade(configuration(connection, "telemetry"), revision)
        fill(connection, kept.tables)
        before.update(rows_in(connection))

    def look(connection: Connection) -> None:
        after.update(rows_in(connection))
        different.extend(differences(connection, "telemetry"))

    await on_connection(url, build)
    await upgrade(url, "telemetry")
    await on_connection(url, look)

    assert different == []
    for name, rows in before.items():
        found = [{column: row[column] for column in rows[0]} for row in after[name]]
        assert all(row in found for row in rows), name
    async with opened(url) as store:
        await demand_all(store, kept.readings)
        late = kept.readings[-1]._replace(ts_us=kept.readings[-1].ts_us + 1)
        outcomes = await append(store, [late, *kept.readings])
        assert outcomes == bytes([Outcome.ACCEPTED] + [Outcome.DUPLICATE] * READINGS)
        expected = sorted([*kept.readings, late], key=lambda row: (row.ts_us, row.series_id))
        await store.flush()
        while await store.roll_up(before_us=LATER_US):
            pass
        await demand_all(store, expected)
        await seal_all(store)
        await demand_all(store, expected)
        await on_connection(url, forget_readings)
        await demand_buckets(store, expected)


def forget_readings(connection: Connection) -> None:
    """Leave only rollups to answer from."""
    for name in ("chunk", "sealed"):
        connection.execute(text(f"DELETE FROM {name}"))  # noqa: S608 - our own names
