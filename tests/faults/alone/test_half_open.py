"""A peer that vanishes without a word is found out in time, and its end is told once."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from fieldstation.adapters.mqtt_server.packets import Publish
from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    DISCONNECT,
    RawClient,
    connect_bytes,
    publish_bytes,
)
from tests.clients import StationClient, expect
from tests.faults.connections import open_connections
from tests.faults.proxy import Line, ProxyControl, fault_proxy
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

PING_S = 1.0
"""A ping every second, and a second for its answer."""
KEEP_ALIVE_S = 2
TOLERANCE_S = 1.0
"""For the look of the server, ours, and a busy machine."""
GONE = "gone/greenhouse"


@pytest.fixture
def station(tmp_path: Path) -> Iterator[StationProcess]:
    environment = {"WS_PING_INTERVAL_S": str(PING_S)}
    with running_station(tmp_path / "data", environment=environment) as station:
        yield station


@pytest.fixture
def client(station: StationProcess) -> Iterator[StationClient]:
    with StationClient(station.url) as client:
        yield client.sign_up()


@asynccontextmanager
async def socket_at(port: int, client: StationClient) -> AsyncIterator[ClientConnection]:
    """Open a live socket that answers pings."""
    opened = await connect(
        f"ws://127.0.0.1:{port}/ws",
        additional_headers={"Authorization": f"Bearer {client.token}"},
        max_queue=None,
        ping_interval=None,
    )
    try:
        await opened.send('{"type": "ping"}')
        assert json.loads(await opened.recv())["type"] == "pong"
        yield opened
    finally:
        opened.transport.abort()
        await opened.wait_closed()


def sockets(client: StationClient) -> int:
    return expect(client.http.get("/health"), 200)["checks"]["websocket_clients"]


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "with readings on their way"])
async def test_a_live_socket_whose_peer_vanished_is_closed_by_the_ping(
    station: StationProcess, client: StationClient, busy: bool
) -> None:
    device = client.register_device()
    with fault_proxy(station.port) as proxy:
        async with socket_at(proxy.port, client), socket_at(station.port, client) as alive:
            before = open_connections(station, station.port)
            proxy.set_line(Line.SWALLOWING)
            vanished_at = time.monotonic()
            if busy:  # more than the proxy and the kernel take in
                readings = [{"sensor_type": "t", "value": "x" * 1_000}] * 500
                for _ in range(15):
                    await asyncio.to_thread(client.send, device, readings)
            await wait_until(lambda: sockets(client) == 1)
            assert time.monotonic() - vanished_at < 2 * PING_S + TOLERANCE_S
            await wait_until(lambda: open_connections(station, station.port) == before - 1)
            assert time.monotonic() - vanished_at < 2 * PING_S + TOLERANCE_S
            await alive.send('{"type": "ping"}')
            async with asyncio.timeout(10):
                while json.loads(await alive.recv())["type"] != "pong":
                    pass


@asynccontextmanager
async def mqtt_client(
    port: int, client: StationClient, key: str, *, will: Publish | None = None
) -> AsyncIterator[RawClient]:
    opened = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    try:
        opened.send(
            connect_bytes(
                "greenhouse" if will else "watch",
                username=client.email,
                password=key,
                keep_alive_s=KEEP_ALIVE_S if will else 0,
                will=will,
            )
        )
        assert (await opened.read()).first == CONNACK
        yield opened
    finally:
        opened.writer.transport.abort()
        await opened.close()


async def test_an_mqtt_client_that_vanished_is_found_in_time_and_its_will_is_told_once(
    station: StationProcess, client: StationClient
) -> None:
    key = client.issue_user_key("telemetry:read", "telemetry:write")
    will = Publish(GONE, b"bye", 0, 1)
    with fault_proxy(station.mqtt_port) as proxy:
        async with (
            mqtt_client(station.mqtt_port, client, key) as watcher,
            mqtt_client(proxy.port, client, key, will=will) as vanishing,
        ):
            await watcher.subscribe(("gone/#", 1))
            await vanishing.ping()
            heard_at = time.monotonic()
            vanish(proxy, vanishing)
            told = await watcher.read_message()
            passed_s = time.monotonic() - heard_at
            assert (told.topic, told.payload) == (GONE, b"bye")
            assert 1.5 * KEEP_ALIVE_S - 0.5 < passed_s < 1.5 * KEEP_ALIVE_S + TOLERANCE_S
            await wait_until(lambda: open_connections(station, station.mqtt_port) == 1)
            proxy.set_line(Line.UP)  # a late reset changes nothing
            watcher.send(publish_bytes("gone/marker", b"1", packet_id=7))
            assert (await watcher.read_message()).topic == "gone/marker"
            assert await watcher.read_pubacks(1) == [7]
            watcher.send(DISCONNECT)


def vanish(proxy: ProxyControl, client: RawClient) -> None:
    """Let the client go on, with nothing of it arriving."""
    proxy.set_line(Line.SWALLOWING)
    client.send(b"\xc0\x00", DISCONNECT)
