"""Fixtures of identity's tests: each test runs on SQLite and on PostgreSQL."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.domains.identity.stations import Person, Station, make_tables, open_station

SERVER = "postgresql://postgres@127.0.0.1:5432"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Make a database with a name of its own and drop it; skip visibly when there is no server."""
    name = f"fieldstation_identity_{uuid4().hex}"
    try:
        asyncio.run(on_server(f"CREATE DATABASE {name}"))
    except OSError as error:
        reason = f"no PostgreSQL on 127.0.0.1:5432: {error}"
        if os.environ.get("FIELDSTATION_TEST_SERVICES") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    yield f"{SERVER}/{name}"
    asyncio.run(on_server(f"DROP DATABASE {name} WITH (FORCE)"))


async def on_server(statement: str) -> None:
    connection = await asyncpg.connect(f"{SERVER}/postgres", timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


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
