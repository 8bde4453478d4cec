"""Fixtures of the database tests: a schema of their own on SQLite and PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from fieldstation.core.clock import ManualClock
from fieldstation.core.events import Event
from fieldstation.core.settings import DatabaseSettings
from fieldstation.db.database import Database
from fieldstation.db.engines import create_engines, database_url
from fieldstation.migrations.upgrade import upgrade
from tests.services import fresh_postgresql_database

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Announced(list[Event]):
    """Every event that was published, in order."""

    def publish(self, event: Event) -> None:
        self.append(event)


@pytest.fixture(scope="package")
def own_postgresql_url() -> Iterator[str]:
    """Not the shared one: a running station would do these tests' jobs and messages."""
    with fresh_postgresql_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "sqlite":
        return database_url(None, data_dir=tmp_path)
    return database_url(request.getfixturevalue("own_postgresql_url"), data_dir=tmp_path)


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
async def database(url: URL, announced: Announced) -> AsyncIterator[Database]:
    """An open database with the station's tables, empty where tests write."""
    await upgrade(url, "station")
    database = Database(
        create_engines(url, DatabaseSettings(DATABASE_POOL_TIMEOUT_S="0.5")), announced.publish
    )
    async with database.transaction() as session:
        for table in ("job", "outbox_message", "mqtt_retained"):
            await session.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - our own names
    yield database
    await database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)
