"""Subscribers that do not keep up cost neither memory nor anybody else's messages."""

import asyncio
import socket

import psutil
import pytest

from fieldstation.adapters.mqtt_server.options import OutboxLimits
from fieldstation.adapters.mqtt_server.packets import Publish
from fieldstation.adapters.mqtt_server.server import MqttServer
from tests.adapters.mqtt_server.memory_transport import MemoryTransport
from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    SUBACK,
    RawClient,
    connect_bytes,
    connected,
    publish_bytes,
    subscribe_bytes,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

MIB = 1 << 20
SLOW = 300


async def deaf_subscriber(server: MqttServer, qos: int) -> socket.socket:
    """Subscribe to everything and read nothing after that."""
    loop = asyncio.get_running_loop()
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    deaf.setblocking(False)
    await loop.sock_connect(deaf, ("127.0.0.1", server.port))
    await loop.sock_sendall(deaf, connect_bytes("deaf") + subscribe_bytes(("#", qos)))
    received = b""
    while len(received) < 9:
        received += await loop.sock_recv(deaf, 9 - len(received))
    assert (received[0], received[4]) == (CONNACK, SUBACK)
    return deaf


async def publish_batches(
    station: MemoryStation, publisher: RawClient, reader: RawClient, *, batches: int
) -> int:
    """Publish batches of 50 x 20 kB, one after the other; return how many the reader got."""
    received = 0
    for batch in range(batches):
        ids = range(batch * 50 + 1, batch * 50 + 51)
        publisher.send(*(publish_bytes("a", b"x" * 20_000, packet_id=n) for n in ids))
        for _ in ids:
            received += len((await reader.read_message()).payload) == 20_000
        assert await publisher.read_pubacks(50) == list(ids)
        # What the station of this test remembers would hide what the server holds.
        station.passed.clear()
    return received


async def test_a_deaf_subscriber_loses_qos_0_and_nobody_else_anything() -> None:
    limits = OutboxLimits(queue_messages_max=100, queue_bytes_max=MIB)
    station = MemoryStation()
    async with (
        serving(station, outbox=limits) as server,
        connected(server, "pub") as publisher,
        connected(server, "ear") as ear,
    ):
        await ear.subscribe(("a", 0))
        deaf = await deaf_subscriber(server, 0)
        try:
            await publish_batches(station, publisher, ear, batches=10)
            before = psutil.Process().memory_info().rss
            assert await publish_batches(station, publisher, ear, batches=100) == 5_000
            grown = psutil.Process().memory_info().rss - before
            assert server.counters.dropped_slow > 4_000
            assert grown < 20 * MIB
        finally:
            deaf.close()


async def test_a_deaf_subscriber_with_qos_1_is_closed_and_nobody_else() -> None:
    limits = OutboxLimits(queue_messages_max=100, queue_bytes_max=MIB)
    station = MemoryStation()
    async with (
        serving(station, outbox=limits) as server,
        connected(server, "pub") as publisher,
        connected(server, "ear") as ear,
    ):
        await ear.subscribe(("a", 0))
        deaf = await deaf_subscriber(server, 1)
        try:
            assert await publish_batches(station, publisher, ear, batches=20) == 1_000
            await wait_until(lambda: server.counters.slow_closed == 1)
            assert server.counters.connections == 2
        finally:
            deaf.close()


async def test_a_subscriber_that_pauses_gets_the_rest_when_it_reads_again() -> None:
    limits = OutboxLimits(queue_bytes_max=64 * MIB)
    async with (
        serving(MemoryStation(), outbox=limits) as server,
        connected(server, "sub") as subscriber,
    ):
        await subscriber.subscribe(("a", 0))
        for number in range(1_000):
            server.publish("org-a", "a", b"%05d" % number + b"x" * 20_000, qos=0)
        numbers = [int((await subscriber.read_message()).payload[:5]) for _ in range(1_000)]
        assert numbers == list(range(1_000))


@pytest.mark.parametrize("topic_filter", ["gone", "$share/g/gone"])
async def test_slow_clients_whose_wills_find_each_other_slow_are_all_closed(
    topic_filter: str,
) -> None:
    limits = OutboxLimits(queue_messages_max=1)
    station = MemoryStation()
    async with (
        serving(station, outbox=limits) as server,
        connected(server, "ear") as ear,
    ):
        await ear.subscribe(("gone", 0))
        for number in range(SLOW):
            transport = MemoryTransport()
            connection = server.attach(transport)
            will = Publish("gone", b"%d" % number, 0, 1)
            connection.data_received(connect_bytes(f"slow-{number}", will=will))
            connection.data_received(subscribe_bytes((topic_filter, 1)))
            await wait_until(lambda sent=transport: b"\x90\x03\0\1\1" in sent.written)
            connection.pause_writing()
        queued = SLOW if topic_filter.startswith("$") else 1
        for _ in range(queued + 1):
            server.publish("org-a", "gone", b"first", qos=1)
        await wait_until(lambda: server.counters.wills_published == SLOW)
        assert server.counters.slow_closed == SLOW
        server.publish("org-a", "gone", b"last", qos=0)
        while (await ear.read_message()).payload != b"last":
            pass
