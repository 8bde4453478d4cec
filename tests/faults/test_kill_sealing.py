"""kill -9 while a station seals and rolls up: every reading once, and summaries as recomputed."""

import random
import time
from pathlib import Path

import pytest

from tests.faults.oracle import together
from tests.faults.past import past_of
from tests.faults.stored import copy_files, rows_of_sqlite
from tests.faults.upkeep import Upkeep, file_url
from tests.faults.victims import victim
from tests.station_process import StationProcess
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

KILLS = 6
DAYS = 40
"""Two dozen slices of sealing."""
MOMENT_S = 0.2
"""A kill comes at any moment of so long: a slice, the rest behind it, a slice of rollups."""


async def test_every_reading_stands_once_after_each_of_6_kills_while_it_is_sealed(
    tmp_path: Path, chance: random.Random
) -> None:
    with (
        victim(StationProcess(tmp_path / "data")) as found,
        past_of(found.station, days=DAYS) as past,
    ):
        station, senders = found.station, found.senders
        upkeep = Upkeep(file_url(station.data_dir), before_us=past.end_us)
        left = await upkeep.in_chunks()
        assert left == past.hours

        async def goes_on() -> bool:
            return await upkeep.in_chunks() < left

        async def any_moment() -> None:
            begun = {sender: sender.acknowledgements for sender in senders}
            await wait_until(lambda: all(s.acknowledgements > begun[s] for s in senders))
            kill_at = time.monotonic() + chance.uniform(0, MOMENT_S)
            await wait_until(lambda: time.monotonic() >= kill_at)

        for _ in range(KILLS):
            await wait_until(goes_on)
            await found.load_and_kill_after(any_moment)
            left_by_kill = copy_files(station.data_dir, tmp_path / "left by the kill")
            together(found.journal, past.journal).verify(rows_of_sqlite(left_by_kill))
            found.restart()
            left = await upkeep.in_chunks()
            assert left > 0, "sealing was over before the last kill"
        await found.settle()
        await upkeep.until_done()
        past.verify()
        assert station.stop() == 0
        journal = together(found.journal, past.journal)
        assert journal.verify(rows_of_sqlite(station.data_dir)).keys() == journal.sent.keys()
        await upkeep.forget_readings()
        station.start()
        past.verify_buckets()
