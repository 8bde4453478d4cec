"""kill -9 amid QoS 2: a reading without a time of its own is stored once, whatever is repeated."""

import asyncio
import random
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.adapters.mqtt_server.raw_client import connect_bytes, publish_bytes
from tests.adapters.mqtt_server.raw_client5 import acknowledge
from tests.clients import StationClient, TestDevice
from tests.faults.mqtt_link import DUPLICATE, MqttLink, Packet
from tests.faults.proxy import COMMIT, Line, fault_proxy
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

CONNACK, PUBREC, PUBREL, PUBCOMP = 0x20, 0x50, 0x62, 0x70
PACKET_ID = 7
KILLS = 10


class Sender:
    """A device that sends one reading after the other and keeps its side of the exchange."""

    def __init__(self, station: StationProcess, client: StationClient) -> None:
        self.station = station
        self.client = client.sign_up()
        self._device: TestDevice = self.client.register_device()
        self.value = 0
        self._sent = self._released = False

    async def connect(self) -> MqttLink | None:
        """Connect to the session that is kept; None if the station is gone."""
        connected = socket.socket()
        connected.setblocking(False)
        link = MqttLink(connected)
        address = ("127.0.0.1", self.station.mqtt_port)
        try:
            await asyncio.get_running_loop().sock_connect(connected, address)
            device = self._device
            await link.send(
                connect_bytes("c", username=device.id, password=device.api_key, clean=False)
            )
        except OSError:
            link.close()
            return None
        answer = await link.receive()
        if answer is None:
            link.close()
            return None
        assert answer.first == CONNACK
        if self._sent and not answer.body[0]:
            raise AssertionError("the session is gone")
        return link

    async def exchange(self, link: MqttLink) -> bool:
        """Send the next reading, or what is left of its exchange; false if the link broke."""
        try:
            if not self._released:
                await link.send(self._frame())
                self._sent = True
                if await link.receive() != Packet(PUBREC, b"\0\x07"):
                    return False
                self._released = True
            await link.send(acknowledge(PUBREL, PACKET_ID))
            if await link.receive() != Packet(PUBCOMP, b"\0\x07"):
                return False
        except OSError:
            return False
        self.value += 1
        self._sent = self._released = False
        return True

    def _frame(self) -> bytes:
        topic = f"devices/{self._device.id}/readings"
        payload = msgspec.json.encode({"sensor_type": "t", "value": self.value})
        frame = publish_bytes(topic, payload, packet_id=PACKET_ID, qos=2)
        return bytes((frame[0] | (DUPLICATE if self._sent else 0),)) + frame[1:]

    async def send_forever(self) -> None:
        """Exchange until the station is gone."""
        link = await self.connect()
        while link is not None and await self.exchange(link):
            pass
        if link is not None:
            link.close()

    def stored(self) -> list[float]:
        found: list[float] = []
        cursor: dict[str, Any] = {}
        while True:
            page = self.client.get(
                "/api/v1/readings", device_id=self._device.id, limit=1_000, **cursor
            )
            found += [item["value"] for item in page["items"]]
            if not page.get("next_cursor"):
                return sorted(found)
            cursor = {"cursor": page["next_cursor"]}


async def test_kills_at_any_instant_store_every_reading_once(tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 it must be repeatable, not secret
    with running_station(tmp_path / "data") as station, StationClient(station.url) as client:
        sender = Sender(station, client)
        cut_short = 0
        for _ in range(KILLS):
            target = sender.value + chance.randint(1, 30)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sender.send_forever(), name="sender")
                await wait_until(lambda target=target: sender.value >= target)
                await asyncio.sleep(chance.random() / 200)
                station.kill()
            station.start()
            stored = sender.stored()
            assert stored == list(range(len(stored)))
            assert len(stored) - sender.value in (0, 1)
            cut_short += len(stored) - sender.value
        assert cut_short, "no kill fell between a commit and the end of its exchange"
        link = await sender.connect()
        assert link is not None
        assert await sender.exchange(link)
        link.close()
        assert sender.stored() == list(range(sender.value))


async def test_a_reading_whose_commit_was_not_answered_is_not_stored_again(
    tmp_path: Path, own_database: str
) -> None:
    database = urlsplit(own_database)
    with fault_proxy(database.port or 0) as proxy:
        url = f"postgresql://{database.username}@127.0.0.1:{proxy.port}{database.path}"
        with (
            running_station(tmp_path / "data", database_url=url) as station,
            StationClient(station.url) as client,
        ):
            sender = Sender(station, client)
            link = await sender.connect()
            assert link is not None
            assert await sender.exchange(link)
            proxy.keep_answers_to(COMMIT)
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(sender.exchange(link), name="sender")
                await wait_until(lambda: sender.stored() == [0, 1])
                assert not sending.done()
                station.kill()
            link.close()
            proxy.set_line(Line.UP)
            station.start()
            link = await sender.connect()
            assert link is not None
            assert await sender.exchange(link)
            assert await sender.exchange(link)
            link.close()
            assert sender.stored() == [0, 1, 2]
