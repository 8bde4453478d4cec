"""Fixtures of the database tests: tables of their own on each database."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from fieldstation.core.clock import ManualClock
from fieldstation.core.events import Event
from fieldstation.db.database import Database
from fieldstation.db.engines import database_url
from tests.services import fresh_mariadb_database, fresh_postgresql_database
from tests.station_database import empty_database

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


@pytest.fixture(scope="package")
def own_mariadb_url() -> Iterator[str]:
    with fresh_mariadb_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "sqlite":
        return database_url(None, data_dir=tmp_path)
    return database_url(request.getfixturevalue(f"own_{request.param}_url"), data_dir=tmp_path)


@pytest.fixture
def announced() -> Announced:
    return Announced()


@pytest.fixture
async def database(url: URL, announced: Announced) -> AsyncIterator[Database]:
    async with empty_database(url, announced.publish) as database:
        yield database


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)
