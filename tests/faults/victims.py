"""A station that is killed again and again under HTTP and MQTT load, and judged after each kill."""

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

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
from tests.faults.stored import check_integrity, copy_files
from tests.station_process import STOP_TIMEOUT_S, StationProcess
from tests.wait_until import wait_until, wait_until_blocking

ACKNOWLEDGEMENTS_MIN = 5
ACKNOWLEDGEMENTS_MAX = 400
LOAD_TIMEOUT_S = 20.0


class Victim:
    """The station, the devices that send to it, and their journal."""

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
        target = acknowledged(self.senders) + acknowledgements

        async def enough() -> None:
            await wait_until(lambda: acknowledged(self.senders) >= target, timeout_s=LOAD_TIMEOUT_S)

        await self.load_and_kill_after(enough)

    async def load_and_kill_after(self, moment: Callable[[], Awaitable[None]]) -> None:
        """Send while the moment is awaited; then kill the station."""
        self._unsettled_us = oldest_pending_us(self.senders, self.journal)

        async def then_kill() -> None:
            await moment()
            assert any(sender.pending for sender in self.senders), "nothing was under way"
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
def victim(station: StationProcess) -> Iterator[Victim]:
    """Start the station; it is killed in the end unless it has stopped."""
    found = Victim(station.start())
    try:
        yield found
    finally:
        found.client.http.close()
        if station.process.poll() is None:
            station.kill()


async def kill_repeatedly(
    found: Victim, chance: random.Random, *, kills: int, scratch: Path | None = None
) -> None:
    """Kill, start again and verify so often; then settle, and stop.

    With ``scratch``, where SQLite's files are copied to, both pass its own check as each kill left
    them.
    """
    for _ in range(kills):
        await found.load_and_kill(chance.randint(ACKNOWLEDGEMENTS_MIN, ACKNOWLEDGEMENTS_MAX))
        left = None if scratch is None else copy_files(found.station.data_dir, scratch)
        found.restart()
        found.verify_recent()
        if left is not None:
            check_integrity(left)
    await found.settle()
    assert found.station.stop() == 0
