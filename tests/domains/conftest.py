"""Fixtures of the domains' tests: rows of the shared station, and a database of their own."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fieldstation.db.database import Database
from fieldstation.db.engines import database_url
from tests.clients import StationClient
from tests.services import fresh_mariadb_database, fresh_postgresql_database
from tests.station_database import empty_database
from tests.station_process import StationProcess

Rows = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def owner(station: StationProcess) -> Iterator[StationClient]:
    """An owner that the tests of a module share, each with devices of its own."""
    with StationClient(station.url) as owner:
        yield owner.sign_up()


@pytest.fixture(scope="module")
def other_owner(station: StationProcess) -> Iterator[StationClient]:
    """The owner of another organization, shared as well."""
    with StationClient(station.url) as owner:
        yield owner.sign_up()


@pytest.fixture
def rows(station: StationProcess, request: pytest.FixtureRequest) -> Rows:
    """Return what a statement finds in the shared station's tables."""
    file = station.data_dir / "station.db"
    if file.exists():
        return lambda statement: sqlite_rows(str(file), statement)
    url = request.getfixturevalue("postgresql_url")
    return lambda statement: asyncio.run(postgresql_rows(url, statement))


def sqlite_rows(file: str, statement: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement)]


async def postgresql_rows(url: str, statement: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return [dict(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def own_postgresql_url() -> Iterator[str]:
    """Not the shared one: tests empty its tables."""
    with fresh_postgresql_database() as url:
        yield url


@pytest.fixture(scope="session")
def own_mariadb_url() -> Iterator[str]:
    with fresh_mariadb_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def own_address(request: pytest.FixtureRequest) -> str | None:
    """Where a test's own tables go; None is a file in its directory."""
    if request.param == "sqlite":
        return None
    return request.getfixturevalue(f"own_{request.param}_url")


@pytest.fixture
async def own_database(tmp_path: Path, own_address: str | None) -> AsyncIterator[Database]:
    """An open database with the station's tables, empty."""
    async with empty_database(database_url(own_address, data_dir=tmp_path)) as database:
        yield database
