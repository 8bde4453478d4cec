"""After a kill under load the station serves within 3 s, and nothing acknowledged is lost.

With ``test_kill.py``, where no clock runs, these are 68 kills.
"""

import random
import statistics
from pathlib import Path

import pytest

from tests.faults.stored import rows_of_postgresql, rows_of_sqlite
from tests.faults.victims import Victim, kill_repeatedly, victim
from tests.station_process import StationProcess

pytestmark = pytest.mark.anyio

KILLS_ON_SQLITE = 5
KILLS_ON_POSTGRESQL = 3
SERVING_MEDIAN_S_MAX = 3.0
SERVING_S_MAX = 6.0
"""The limit is 3 s, which the median must keep; the machine may be busy with other things, too."""


def assert_served_in_time(found: Victim) -> None:
    assert statistics.median(found.serving_s) <= SERVING_MEDIAN_S_MAX, found.serving_s
    assert max(found.serving_s) <= SERVING_S_MAX, found.serving_s


async def test_a_station_on_sqlite_serves_soon_after_each_of_5_kills(
    tmp_path: Path, chance: random.Random
) -> None:
    with victim(StationProcess(tmp_path / "data", forked=False)) as found:
        scratch = tmp_path / "left by the kill"
        await kill_repeatedly(found, chance, kills=KILLS_ON_SQLITE, scratch=scratch)
        stored = found.journal.verify(rows_of_sqlite(found.station.data_dir))
        assert stored.keys() == found.journal.sent.keys()
    assert_served_in_time(found)


async def test_a_station_on_postgresql_serves_soon_after_each_of_3_kills(
    tmp_path: Path, own_database: str, chance: random.Random
) -> None:
    station = StationProcess(tmp_path / "data", database_url=own_database, forked=False)
    with victim(station) as found:
        await kill_repeatedly(found, chance, kills=KILLS_ON_POSTGRESQL)
        stored = found.journal.verify(await rows_of_postgresql(own_database))
        assert stored.keys() == found.journal.sent.keys()
    assert_served_in_time(found)
