"""A station with an MQTT subscriber that does not read, and one that does."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    SUBACK,
    RawClient,
    connect_bytes,
    publish_bytes,
    subscribe_bytes,
)
from tests.adapters.mqtt_server.raw_client5 import connect5
from tests.clients import StationClient
from tests.station_process import StationProcess

BUFFER_BYTES = 4_096
BATCH = 20
PAYLOAD_BYTES = 10_000
FILLING_BATCHES = 40
"""8 MB, more than the kernel and the station's outbox (2 MiB) hold for a client."""
SESSION_EXPIRY = 0x11


class Scene:
    """A publisher, and an ear that hears everything at once."""

    def __init__(self, station: StationProcess, owner: StationClient) -> None:
        self.station = station
        self.published = 0
        self.payload_bytes = PAYLOAD_BYTES
        self._login = owner.email
        self._key = owner.issue_user_key("telemetry:read", "telemetry:write")

    async def publish(self, publisher: RawClient, ear: RawClient) -> float:
        """Publish a batch; return how long it took until the ear had all of it."""
        ids = range(1, BATCH + 1)
        first, self.published = self.published, self.published + BATCH
        payloads = [b"%09d" % (first + n) + b"x" * self.payload_bytes for n in range(BATCH)]
        began = time.perf_counter()
        publisher.send(
            *(publish_bytes("load/x", p, packet_id=n) for n, p in zip(ids, payloads, strict=True))
        )
        heard = [(await ear.read_message()).payload for _ in ids]
        took = time.perf_counter() - began
        assert heard == payloads
        assert await publisher.read_pubacks(BATCH) == list(ids)
        return took

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[RawClient]:
        client = RawClient(*await asyncio.open_connection("127.0.0.1", self.station.mqtt_port))
        try:
            client.send(connect_bytes(name, username=self._login, password=self._key))
            assert (await client.read()).first == CONNACK
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def lazy_client(self, *, kept: bool) -> AsyncIterator[RawClient]:
        """Connect a client that takes nothing which the test does not ask for."""
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", self.station.mqtt_port))
        lazy = RawClient(*await asyncio.open_connection(sock=small, limit=BUFFER_BYTES))
        user, key, day = self._login, self._key, {SESSION_EXPIRY: 86_400}
        try:
            if kept:
                lazy.send(
                    connect5("lazy", username=user, password=key, clean=False, properties=day)
                )
            else:
                lazy.send(connect_bytes("lazy", username=user, password=key))
            assert (await lazy.read()).first == CONNACK
            yield lazy
        finally:
            lazy.writer.transport.abort()
            await lazy.close()

    @asynccontextmanager
    async def lazy_websocket(self) -> AsyncIterator[None]:
        """Subscribe to everything over WebSocket, and read nothing more."""
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        small.connect(("127.0.0.1", self.station.port))
        lazy = await connect(
            f"ws://127.0.0.1:{self.station.port}/mqtt",
            subprotocols=[Subprotocol("mqtt")],
            compression=None,
            ping_interval=None,
            sock=small,
        )
        try:
            await lazy.send(connect_bytes("lazy", username=self._login, password=self._key))
            await lazy.send(subscribe_bytes(("load/#", 1)))
            assert [bytes(await lazy.recv(decode=False))[0] for _ in range(2)] == [CONNACK, SUBACK]
            lazy.transport.pause_reading()
            yield
        finally:
            lazy.transport.abort()
            await lazy.wait_closed()

    def counted(self, name: str) -> int:
        lines = httpx2.get(f"{self.station.url}/metrics").text.splitlines()
        (line,) = (each for each in lines if each.startswith(f"fieldstation_mqtt_{name}_total "))
        return int(float(line.split()[1]))


@asynccontextmanager
async def scene(station: StationProcess) -> AsyncIterator[tuple[Scene, RawClient, RawClient]]:
    with StationClient(station.url) as owner:
        found = Scene(station, owner.sign_up())
    async with found.client("publisher") as publisher, found.client("ear") as ear:
        await ear.subscribe(("load/#", 0))
        yield found, publisher, ear
