"""A station with a live socket that is not read, and one that is."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from tests.clients import StationClient, TestDevice, expect
from tests.faults.http_link import HttpLink, http_link
from tests.station_process import StationProcess, running_station

BUFFER_BYTES = 4_096
POSTS = 40
READINGS = 20
VALUE_CHARACTERS = 1_000
LARGE_READINGS = 100
LARGE_METADATA_CHARACTERS = 3_000
LARGE_POSTS = 16
"""6 MiB together, more than the kernel and the station hold for a client that reads nothing."""
FRAME_S_MAX = 10.0


class Scene:
    """A station with an owner, whose device sends and whose sockets listen."""

    def __init__(self, station: StationProcess, client: StationClient, link: HttpLink) -> None:
        self.station = station
        self.client = client
        self.device: TestDevice = client.register_device()
        self._link = link

    async def send(self, readings: list[dict[str, Any]]) -> None:
        body = msgspec.json.encode(readings)
        answer = await self._link.post(self.device.readings_path, body, self.device.headers)
        assert answer.status_code == 201, answer.content

    async def send_much(self, posts: int = LARGE_POSTS) -> None:
        metadata = {"m": "y" * LARGE_METADATA_CHARACTERS}
        large = {"sensor_type": "t", "value": "x" * VALUE_CHARACTERS, "metadata": metadata}
        for _ in range(posts):
            await self.send([large] * LARGE_READINGS)

    async def measure(self, listener: ClientConnection) -> list[float]:
        """Return how long each post's readings took until the listener had all of them."""
        took: list[float] = []
        for _ in range(POSTS):
            began = time.perf_counter()
            await self.send([{"sensor_type": "t", "value": "x" * VALUE_CHARACTERS}] * READINGS)
            await take(listener, READINGS)
            took.append(time.perf_counter() - began)
        return took

    @asynccontextmanager
    async def lazy_socket(self) -> AsyncIterator[ClientConnection]:
        """Open a socket that takes nothing which the test does not ask for."""
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            small.connect(("127.0.0.1", self.station.port))
            lazy = await connect(
                f"ws://127.0.0.1:{self.station.port}/ws",
                additional_headers={"Authorization": f"Bearer {self.client.token}"},
                compression=None,
                max_queue=1,
                ping_interval=None,
                sock=small,
            )
            try:
                await lazy.send('{"type": "ping"}')
                assert '"pong"' in str(await lazy.recv())
                yield lazy
            finally:
                lazy.transport.abort()
                await lazy.wait_closed()

    def sockets(self) -> int:
        return expect(self.client.http.get("/health"), 200)["checks"]["websocket_clients"]


@contextmanager
def station_with(directory: Path, **environment: str) -> Iterator[StationProcess]:
    limits = {"WS_QUEUE_FRAMES_MAX": "100", **environment}
    with running_station(directory / "data", environment=limits) as station:
        yield station


@asynccontextmanager
async def scene(station: StationProcess) -> AsyncIterator[Scene]:
    with StationClient(station.url) as client:
        client.sign_up()
        async with http_link(station.url) as link:
            yield Scene(station, client, link)


@asynccontextmanager
async def listening(found: Scene) -> AsyncIterator[ClientConnection]:
    """Open a socket that is read as fast as anybody can."""
    async with connect(
        f"ws://127.0.0.1:{found.station.port}/ws",
        additional_headers={"Authorization": f"Bearer {found.client.token}"},
        compression=None,
        max_queue=None,
    ) as listener:
        yield listener


async def take(socket: ClientConnection, frames: int) -> None:
    async with asyncio.timeout(FRAME_S_MAX):
        for _ in range(frames):
            await socket.recv()


async def take_until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next frame of a kind, and forget those before it."""
    async with asyncio.timeout(FRAME_S_MAX):
        while (frame := json.loads(await socket.recv()))["type"] != kind:
            pass
    return frame
