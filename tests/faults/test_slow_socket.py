"""A live socket that is not read costs nobody else anything, and is got rid of in the end."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.clients import StationClient, TestDevice, expect
from tests.faults.connections import memory_bytes, open_connections
from tests.faults.http_link import HttpLink, http_link
from tests.faults.rounds import refuse_slower
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

BUFFER_BYTES = 4_096
POSTS = 40
READINGS = 20
VALUE_CHARACTERS = 1_000
LARGE_READINGS = 100
LARGE_METADATA_CHARACTERS = 3_000
LARGE_POSTS = 16
"""6 MiB together, more than the kernel and the station hold for a client that reads nothing."""
FILLING_POSTS = 10
DEAF_SOCKETS = 3
GROWTH_BYTES_MAX = 8 << 20
"""Without bounds the station would hold more than that for the deaf sockets."""
SLOW_S = 1.0
GONE_S_MAX = 8.0
FRAME_S_MAX = 10.0
STOP_S_MAX = 6.0


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


async def test_a_slow_socket_delays_nobody_and_is_told_of_its_gap(tmp_path: Path) -> None:
    with station_with(tmp_path) as station:
        async with scene(station) as found, listening(found) as listener:

            @asynccontextmanager
            async def slow_socket() -> AsyncIterator[None]:
                async with found.lazy_socket() as lazy:
                    await found.send_much(FILLING_POSTS)
                    await take(listener, FILLING_POSTS * LARGE_READINGS)
                    yield
                    assert (await take_until(lazy, "gap"))["dropped"] > 0

            await refuse_slower(lambda: found.measure(listener), slow_socket)


async def test_slow_sockets_cost_no_memory(tmp_path: Path) -> None:
    with station_with(tmp_path) as station:
        async with scene(station) as found, AsyncExitStack() as deaf:
            await found.send_much()
            at_first = memory_bytes(station)
            await found.send_much()
            stored = memory_bytes(station) - at_first
            for _ in range(DEAF_SOCKETS):
                await deaf.enter_async_context(found.lazy_socket())
            before = memory_bytes(station)
            await found.send_much()
            grown = memory_bytes(station) - before
            assert found.sockets() == DEAF_SOCKETS
            assert grown - stored < GROWTH_BYTES_MAX, (stored, grown)


async def test_a_socket_that_stays_slow_is_closed_with_1013_and_its_connection_ends(
    tmp_path: Path,
) -> None:
    with station_with(tmp_path, WS_SLOW_TIMEOUT_S=str(SLOW_S)) as station:
        async with (
            scene(station) as found,
            listening(found) as listener,
            found.lazy_socket() as late,
            found.lazy_socket(),
        ):
            before = open_connections(station, station.port)
            await found.send_much()
            assert (await take_until(late, "gap"))["dropped"] > 0
            await found.send_much()
            await wait_until(lambda: found.sockets() == 1, timeout_s=GONE_S_MAX)
            with pytest.raises(ConnectionClosed) as closed:
                await take_until(late, "nothing that is ever sent")
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "too slow")
            await wait_until(
                lambda: open_connections(station, station.port) == before - 2, timeout_s=GONE_S_MAX
            )
            await listener.send('{"type": "ping"}')
            await take_until(listener, "pong")


async def test_a_stop_does_not_wait_for_those_who_do_not_read(tmp_path: Path) -> None:
    with station_with(tmp_path) as station:
        async with scene(station) as found, found.lazy_socket(), found.lazy_socket():
            await found.send_much()
            began = time.monotonic()
            assert station.stop() == 0
            assert time.monotonic() - began < STOP_S_MAX
