"""Fixtures of the matrix: one settled world on each database."""

from collections.abc import Iterator

import pytest

from tests.security.matrix.world import World, settled_world
from tests.station_process import StationProcess


@pytest.fixture(scope="package")
def world(station: StationProcess, request: pytest.FixtureRequest) -> Iterator[World]:
    url = ""
    if not (station.data_dir / "station.db").exists():
        url = request.getfixturevalue("postgresql_url")
    with settled_world(station, {"DATABASE_URL": url}) as world:
        yield world
