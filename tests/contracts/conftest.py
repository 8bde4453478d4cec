"""Fixtures of the contract suites: each test runs on every store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contracts.reading_databases import (
    ReadingDatabase,
    ReadingStoreUnderTest,
    reading_database,
)
from tests.services import fresh_mariadb_database, fresh_postgresql_database


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A database for these suites alone: they empty it before each test."""
    with fresh_postgresql_database() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    with fresh_mariadb_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the telemetry tables go; asks for a server only when the test runs there."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'telemetry.db'}"
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[ReadingDatabase]:
    async with reading_database(database_url) as database:
        yield database


@pytest.fixture
async def store(database: ReadingDatabase) -> ReadingStoreUnderTest:
    return await database.open()
