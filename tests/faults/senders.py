"""Devices that keep sending, note sends and acknowledgements, and repeat the unacknowledged."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from tests.adapters.mqtt_server.raw_client import DISCONNECT
from tests.clients import TestDevice
from tests.faults.http_link import LOST, Answer, http_link
from tests.faults.mqtt_link import MqttLink, puback, publish_frame
from tests.faults.oracle import Batch, Journal
from tests.station_process import StationProcess
from tests.wait_until import wait_until

ANSWER_TIMEOUT_S = 40.0
RETRY_INTERVAL_S = 0.05
WINDOW_MESSAGES_MAX = 20
PACKET_ID_MAX = 65_535


class Sender(ABC):
    """One connection of one device; what is pending survives it and is sent first on the next."""

    def __init__(
        self, station: StationProcess, device: TestDevice, journal: Journal, *, batch_readings: int
    ) -> None:
        self.acknowledgements = 0
        self._station = station
        self._device = device
        self._journal = journal
        self.batch_readings = batch_readings
        self.sensor_id = f"sensor-{id(self):x}"
        self._finishing = False

    @abstractmethod
    async def run(self) -> None:
        """Connect and send until the connection is lost, or all is settled after ``finish``."""

    @property
    @abstractmethod
    def pending(self) -> Sequence[Batch]:
        """What was sent and is not acknowledged, oldest first."""

    def finish(self) -> None:
        """Send nothing new; ``run`` returns when nothing is pending."""
        self._finishing = True

    def _next_batch(self) -> Batch:
        return self._journal.write(self._device.id, self.sensor_id, self.batch_readings)


class HttpSender(Sender):
    """Sends one batch after the other on a connection that is kept alive."""

    def __init__(
        self, station: StationProcess, device: TestDevice, journal: Journal, *, batch_readings: int
    ) -> None:
        super().__init__(station, device, journal, batch_readings=batch_readings)
        self.statuses: Counter[int] = Counter()
        self.slowest_answer_s = 0.0
        self._batch: Batch | None = None

    @property
    def pending(self) -> Sequence[Batch]:
        return () if self._batch is None else (self._batch,)

    async def run(self) -> None:
        with suppress(*LOST):
            async with http_link(self._station.url) as link:
                again = self._batch is not None
                while self._batch is not None or not self._finishing:
                    if self._batch is None:
                        self._batch, again = self._next_batch(), False
                    started = time.monotonic()
                    async with asyncio.timeout(ANSWER_TIMEOUT_S):
                        answer = await link.post(
                            self._device.readings_path,
                            msgspec.json.encode(self._batch.readings()),
                            self._device.headers,
                        )
                    self.slowest_answer_s = max(self.slowest_answer_s, time.monotonic() - started)
                    await self._on_answer(answer, self._batch, again=again)
                    again = True

    async def _on_answer(self, answer: Answer, batch: Batch, *, again: bool) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) > 0
            retry_at = time.monotonic() + RETRY_INTERVAL_S
            await wait_until(lambda: time.monotonic() >= retry_at)
            return
        assert answer.status_code == 201, f"{answer.status_code}: {answer.content[:300]!r}"
        result = answer.json()
        assert result["rejected"] == [], result
        assert result["accepted"] + result["duplicates"] == len(batch.keys), result
        assert again or result["duplicates"] == 0, f"duplicates of a first attempt: {result}"
        self._journal.acknowledge(batch)
        self._batch = None
        self.acknowledgements += 1


class MqttSender(Sender):
    """Publishes with QoS 1, several messages under way; repeats them with DUP and their ids."""

    def __init__(
        self,
        station: StationProcess,
        device: TestDevice,
        journal: Journal,
        *,
        batch_readings: int,
        window_messages_max: int = WINDOW_MESSAGES_MAX,
        padding_bytes: int = 0,
    ) -> None:
        super().__init__(station, device, journal, batch_readings=batch_readings)
        self.connections = 0
        self.is_held_back = False
        """Whether it waits for the station to read on."""
        self._padding_bytes = padding_bytes
        self._window_messages_max = window_messages_max
        self._under_way: deque[tuple[int, Batch]] = deque()
        self._packet_id = 0
        self._changed = asyncio.Event()

    @property
    def pending(self) -> Sequence[Batch]:
        return [batch for _, batch in self._under_way]

    def finish(self) -> None:
        super().finish()
        self._changed.set()

    async def run(self) -> None:
        try:
            link = await MqttLink.open(
                self._station.mqtt_port, self._device, client_id=self.sensor_id
            )
        except OSError:
            return
        self.connections += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write(link), name="write")
                await self._read(link)
                writing.cancel()
        finally:
            link.close()

    async def _write(self, link: MqttLink) -> None:
        try:
            for packet_id, batch in tuple(self._under_way):
                await link.send(self._frame(packet_id, batch, again=True))
            while not self._finishing:
                if len(self._under_way) >= self._window_messages_max:
                    await self._wait_for_change()
                    continue
                self._packet_id = self._packet_id % PACKET_ID_MAX + 1
                self._under_way.append((self._packet_id, self._next_batch()))
                self.is_held_back = True
                await link.send(self._frame(*self._under_way[-1]))
                self.is_held_back = False
            while self._under_way:
                await self._wait_for_change()
            await link.send(DISCONNECT)
        except OSError:
            return  # the reading side still has something to read, and then finds the end

    async def _read(self, link: MqttLink) -> None:
        while (packet := await link.receive()) is not None:
            packet_id, batch = self._under_way.popleft()
            assert packet == puback(packet_id), "not the acknowledgement of the oldest message"
            self._journal.acknowledge(batch)
            self.acknowledgements += 1
            self._changed.set()

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _frame(self, packet_id: int, batch: Batch, *, again: bool = False) -> bytes:
        return publish_frame(
            batch, packet_id=packet_id, again=again, padding_bytes=self._padding_bytes
        )


async def run_senders(senders: Sequence[Sender], during: Callable[[], Awaitable[None]]) -> None:
    """Let the senders send while ``during`` runs; return when their connections are over too."""
    async with asyncio.TaskGroup() as tasks:
        for number, sender in enumerate(senders):
            tasks.create_task(sender.run(), name=f"{type(sender).__name__} {number}")
        await during()


def acknowledged(senders: Sequence[Sender]) -> int:
    """Count the answers that the senders got so far."""
    return sum(sender.acknowledgements for sender in senders)


def oldest_pending_us(senders: Sequence[Sender], journal: Journal) -> int:
    """Return the time before which every reading is acknowledged."""
    return min(
        (batch.keys[0].ts_us for sender in senders for batch in sender.pending),
        default=journal.next_us,
    )
