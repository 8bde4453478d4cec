"""Fixtures for every test: databases, and real stations on them."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import StationClient
from tests.services import fresh_postgresql_database
from tests.station_process import StationProcess, running_station

# Whatever the machine says: without byte code every process of every test compiles it anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes: at the end, the other workers would wait for it."""
    items.sort(key=lambda item: item.get_closest_marker("takes_minutes") is None)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected to itself: visiting it costs a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A database of its own, dropped in the end; without a server a visible skip, or a failure if
    required."""
    with fresh_postgresql_database() as url:
        yield url


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def station(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StationProcess]:
    """A running station that tests share, one on each database; every test has an organization of
    its own.

    Coverage is measured on SQLite alone: it doubles what a station costs, and what is PostgreSQL's
    own is measured in the contract tests.
    """
    url = None
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    directory = tmp_path_factory.mktemp(request.param)
    measured = request.param == "sqlite"
    with running_station(directory, database_url=url, measured=measured) as station:
        yield station


@pytest.fixture
def own_station(tmp_path: Path) -> Iterator[StationProcess]:
    """A station on SQLite for one test alone, which may kill it."""
    with running_station(tmp_path / "data") as station:
        yield station


@pytest.fixture
def client(station: StationProcess) -> Iterator[StationClient]:
    """A new owner on the shared station."""
    with StationClient(station.url) as client:
        yield client.sign_up()


@pytest.fixture
def stranger(station: StationProcess) -> Iterator[StationClient]:
    """The owner of another organization on the same station."""
    with StationClient(station.url) as client:
        yield client.sign_up()
