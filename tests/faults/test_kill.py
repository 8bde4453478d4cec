"""kill -9 at random instants under HTTP and MQTT load: nothing acknowledged lost, nothing twice."""

import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.clients import StationClient
from tests.faults.oracle import Journal
from tests.faults.senders import (
    HttpSender,
    MqttSender,
    Sender,
    acknowledged,
    oldest_pending_us,
    run_senders,
)
from tests.faults.stored import (
    check_integrity,
    copy_files,
    rows_of_postgresql,
    rows_of_sqlite,
)
from tests.station_process import STOP_TIMEOUT_S, StationProcess
from tests.wait_until import wait_until, wait_until_blocking

pytestmark = pytest.mark.anyio

KILLS_ON_SQLITE = 50
KILLS_ON_POSTGRESQL = 10
ACKNOWLEDGEMENTS_MIN = 5
ACKNOWLEDGEMENTS_MAX = 400
SERVING_MEDIAN_S_MAX = 3.0
SERVING_S_MAX = 6.0
LOAD_TIMEOUT_S = 20.0
SETTLE_TIMEOUT_S = 20.0


@pytest.fixture
def chance() -> random.Random:
    """Chance that FAULT_SEED repeats; a failing test shows the seed in its captured output."""
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().getrandbits(32))
    sys.stdout.write(f"repeat with FAULT_SEED={seed}\n")
    return random.Random(seed)  # noqa: S311 it must be repeatable, not secret


class Victim:
    """A station that is killed again and again, the devices that send to it, and their journal."""

    def __init__(self, station: StationProcess) -> None:
        self.station = station
        self.journal = Journal()
        self.serving_s: list[float] = []
        self.cut_short = 0
        """Kills that left readings stored and their answers unsent or unread."""
        self.client = StationClient(station.url).sign_up()
        device = self.client.register_device
        self.senders: list[Sender] = [
            *(HttpSender(station, device(), self.journal, batch_readings=n) for n in (1, 10, 100)),
            *(MqttSender(station, device(), self.journal, batch_readings=n) for n in (1, 1, 10)),
        ]
        self._unsettled_us = self.journal.next_us

    async def load_and_kill(self, acknowledgements: int) -> None:
        """Send until so many more messages are acknowledged; kill the station a moment later."""
        self._unsettled_us = oldest_pending_us(self.senders, self.journal)
        target = acknowledged(self.senders) + acknowledgements

        async def then_kill() -> None:
            await wait_until(lambda: acknowledged(self.senders) >= target, timeout_s=LOAD_TIMEOUT_S)
            self.station.kill()

        await run_senders(self.senders, then_kill)

    def restart(self) -> None:
        """Start it again and note how long it takes from the process's start to the first 200."""
        started = time.monotonic()
        self.station.start(wait=False)
        wait_until_blocking(self._is_serving, timeout_s=STOP_TIMEOUT_S)
        self.serving_s.append(time.monotonic() - started)
        self.station.wait_until_ready()

    def verify_recent(self) -> None:
        """Judge everything from the first reading on that the last load had to repeat."""
        stored = self.journal.verify_by_api(self.client, since_us=self._unsettled_us)
        if stored.keys() - self.journal.acknowledged:
            self.cut_short += 1

    async def settle(self) -> None:
        """Let the senders repeat the unacknowledged; then all that was ever sent is stored."""

        async def finish() -> None:
            for sender in self.senders:
                sender.finish()

        await run_senders(self.senders, finish)
        assert self.journal.acknowledged == self.journal.sent.keys()
        self.journal.verify_by_api(self.client)

    def _is_serving(self) -> bool:
        assert self.station.process.poll() is None, self.station.output()
        try:
            return self.client.http.get("/health/ready").status_code == 200
        except httpx2.TransportError:
            return False


@contextmanager
def victim(data_dir: Path, *, database_url: str | None = None) -> Iterator[Victim]:
    station = StationProcess(data_dir, database_url=database_url).start()
    found = Victim(station)
    try:
        yield found
    finally:
        found.client.http.close()
        if station.process.poll() is None:
            station.kill()


async def kill_repeatedly(
    found: Victim, chance: random.Random, *, kills: int, scratch: Path | None
) -> None:
    for _ in range(kills):
        await found.load_and_kill(chance.randint(ACKNOWLEDGEMENTS_MIN, ACKNOWLEDGEMENTS_MAX))
        left = None if scratch is None else copy_files(found.station.data_dir, scratch)
        found.restart()
        found.verify_recent()
        if left is not None:
            check_integrity(left)
    assert found.cut_short, "no kill fell between a commit and its answers: the load is too low"
    await found.settle()
    assert found.station.stop() == 0
    assert statistics.median(found.serving_s) <= SERVING_MEDIAN_S_MAX, found.serving_s
    assert max(found.serving_s) <= SERVING_S_MAX, found.serving_s


async def test_nothing_acknowledged_is_lost_by_50_kills_on_sqlite(
    tmp_path: Path, chance: random.Random
) -> None:
    """Both files pass SQLite's own check as the kill left them and in the end.

    Serving again: the limit is 3 s. Here the median must keep it and each single restart may take
    6 s, because the machine that runs the tests is busy with other things, too.
    """
    with victim(tmp_path / "data") as found:
        await kill_repeatedly(
            found, chance, kills=KILLS_ON_SQLITE, scratch=tmp_path / "left by the kill"
        )
        stored = found.journal.verify(rows_of_sqlite(found.station.data_dir))
        assert stored.keys() == found.journal.sent.keys()


async def test_nothing_acknowledged_is_lost_by_10_kills_on_postgresql(
    tmp_path: Path, own_database: str, chance: random.Random
) -> None:
    """Serving again as on SQLite: the median within 3 s, each within 6 s."""
    with victim(tmp_path / "data", database_url=own_database) as found:
        await kill_repeatedly(found, chance, kills=KILLS_ON_POSTGRESQL, scratch=None)
        stored = found.journal.verify(await rows_of_postgresql(own_database))
        assert stored.keys() == found.journal.sent.keys()
