"""kill -9 at random instants under HTTP and MQTT load: nothing acknowledged lost, nothing twice.

With ``alone/test_kill_and_serve.py`` these are 68 kills.
"""

import random
from pathlib import Path

import pytest

from tests.faults.stored import rows_of_mariadb, rows_of_postgresql, rows_of_sqlite
from tests.faults.victims import kill_repeatedly, victim
from tests.station_process import StationProcess

pytestmark = pytest.mark.anyio

KILLS_ON_SQLITE = 20
KILLS_ON_POSTGRESQL = 14
KILLS_ON_MARIADB = 6
TOO_LITTLE_LOAD = "no kill fell between a commit and its answers"
"""Four of five kills on SQLite do, two of five on PostgreSQL."""


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_nothing_acknowledged_is_lost_by_40_kills_on_sqlite(
    tmp_path: Path, chance: random.Random, turn: str
) -> None:
    """Both files pass SQLite's own check as the kill left them and in the end."""
    with victim(StationProcess(tmp_path / turn)) as found:
        scratch = tmp_path / "left by the kill"
        await kill_repeatedly(found, chance, kills=KILLS_ON_SQLITE, scratch=scratch)
        assert found.cut_short, TOO_LITTLE_LOAD
        stored = found.journal.verify(rows_of_sqlite(found.station.data_dir))
        assert stored.keys() == found.journal.sent.keys()


async def test_nothing_acknowledged_is_lost_by_14_kills_on_postgresql(
    tmp_path: Path, own_database: str, chance: random.Random
) -> None:
    with victim(StationProcess(tmp_path / "data", database_url=own_database)) as found:
        await kill_repeatedly(found, chance, kills=KILLS_ON_POSTGRESQL)
        assert found.cut_short, TOO_LITTLE_LOAD
        stored = found.journal.verify(await rows_of_postgresql(own_database))
        assert stored.keys() == found.journal.sent.keys()


@pytest.mark.parametrize("own_database", ["mariadb"], indirect=True)
async def test_nothing_acknowledged_is_lost_by_6_kills_on_mariadb(
    tmp_path: Path, own_database: str, chance: random.Random
) -> None:
    with victim(StationProcess(tmp_path / "data", database_url=own_database)) as found:
        await kill_repeatedly(found, chance, kills=KILLS_ON_MARIADB)
        stored = found.journal.verify(await rows_of_mariadb(own_database))
        assert stored.keys() == found.journal.sent.keys()
