"""Fixtures of identity's tests: each test runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.domains.identity.stations import Person, Station, make_tables, open_station
from tests.services import fresh_postgresql_database


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Return a database of these tests alone, because each empties its tables."""
    with fresh_postgresql_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where the database is; asks for PostgreSQL only when the test runs there."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'station.db'}"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
async def url(address: str) -> str:
    """Return the address of a database with empty tables."""
    await make_tables(address)
    return address


@pytest.fixture
async def station(url: str) -> AsyncIterator[Station]:
    async with open_station(url) as station:
        yield station


@pytest.fixture
async def ada(station: Station) -> Person:
    """Return the owner of an organization."""
    return await station.register("ada@example.org", username="ada", organization_name="Harbour")


@pytest.fixture
async def eve(station: Station) -> Person:
    """Return the owner of another organization."""
    return await station.register("eve@example.org", username="eve", organization_name="Elsewhere")
