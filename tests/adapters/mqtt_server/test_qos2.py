"""QoS 2 in both directions and both versions: once, whatever is repeated."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import pytest

from fieldstation.adapters.mqtt_server.packets import Reason
from fieldstation.adapters.mqtt_server.ports import Verdict
from fieldstation.adapters.mqtt_server.server import MqttServer
from tests.adapters.mqtt_server.raw_client import (
    RawClient,
    Received,
    connected,
    publish_bytes,
    subscribe_bytes,
)
from tests.adapters.mqtt_server.raw_client5 import (
    acknowledge,
    connected5,
    publish5,
    read_message5,
    subscribe5,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

PUBREC, PUBREL, PUBCOMP = 0x50, 0x62, 0x70
READINGS = "x/readings"


class Version(NamedTuple):
    level: int

    def connected(
        self, server: MqttServer, client_id: str = "c1", *, present: bool = False
    ) -> AbstractAsyncContextManager[RawClient]:
        """Connect with a session that is kept."""
        if self.level == 4:
            return connected(server, client_id, clean=False, present=present)
        return connected5(server, client_id, clean=False, properties={0x11: 3_600}, present=present)

    def publish(self, topic: str, payload: bytes, packet_id: int, *, again: bool = False) -> bytes:
        if self.level == 5:
            return publish5(topic, payload, packet_id=packet_id, qos=2, duplicate=again)
        frame = publish_bytes(topic, payload, packet_id=packet_id, qos=2)
        return bytes((frame[0] | again << 3,)) + frame[1:]

    def subscribe(self, topic_filter: str) -> bytes:
        return (subscribe_bytes if self.level == 4 else subscribe5)((topic_filter, 2))

    async def read(self, client: RawClient) -> tuple[bytes, int, int, bool]:
        """Return payload, packet id, QoS and whether it was sent before."""
        first, body = await client.read()
        if self.level == 4:
            end = 2 + int.from_bytes(body[:2], "big")
            packet_id = int.from_bytes(body[end : end + 2], "big")
            return body[end + 2 :], packet_id, first >> 1 & 3, bool(first & 8)
        message = read_message5(Received(first, body))
        return message.payload, message.packet_id, message.qos, message.duplicate


@pytest.fixture(params=[4, 5])
def version(request: pytest.FixtureRequest) -> Version:
    return Version(request.param)


def answer(first: int, packet_id: int) -> Received:
    return Received(first, packet_id.to_bytes(2, "big"))


async def test_a_message_is_taken_once_however_often_it_comes(version: Version) -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server, version.connected(server) as client:
        client.send(version.publish(READINGS, b"1", 7))
        await wait_until(lambda: station.unsettled == 1)
        client.send(version.publish(READINGS, b"1", 7, again=True))
        await client.ping()
        station.commit()
        assert await client.read() == answer(PUBREC, 7)
        client.send(version.publish(READINGS, b"1", 7, again=True))
        assert await client.read() == answer(PUBREC, 7)
        client.send(acknowledge(PUBREL, 7))
        assert await client.read() == answer(PUBCOMP, 7)
        assert station.taken == [(READINGS, b"1")]
        client.send(version.publish(READINGS, b"2", 7))
        await wait_until(lambda: station.unsettled == 1)
        station.commit()
        assert await client.read() == answer(PUBREC, 7)
        assert len(station.taken) == 2


async def test_a_release_of_an_unknown_packet_id_is_completed(version: Version) -> None:
    async with serving(MemoryStation()) as server, version.connected(server) as client:
        client.send(acknowledge(PUBREL, 9))
        first, body = await client.read()
        expected = b"" if version.level == 4 else bytes((Reason.UNKNOWN_PACKET_ID,))
        assert (first, body) == (PUBCOMP, b"\0\x09" + expected)


async def test_a_message_of_a_lost_connection_is_not_taken_again(version: Version) -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server:
        async with version.connected(server) as client:
            client.send(version.publish(READINGS, b"1", 7))
            await wait_until(lambda: station.unsettled == 1)
        await wait_until(lambda: server.counters.connections == 0)
        async with version.connected(server, present=True) as client:
            client.send(version.publish(READINGS, b"1", 7, again=True))
            await client.ping()
            station.commit()
            assert await client.read() == answer(PUBREC, 7)
            assert len(station.taken) == 1


async def test_a_message_that_was_not_stored_is_taken_when_it_comes_again(
    version: Version,
) -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server:
        async with version.connected(server) as client:
            client.send(version.publish(READINGS, b"1", 7))
            await wait_until(lambda: station.unsettled == 1)
            station.lose_everything()
            await client.read_to_end()
        async with version.connected(server, present=True) as client:
            client.send(version.publish(READINGS, b"1", 7, again=True))
            await wait_until(lambda: station.unsettled == 1)
            station.commit()
            assert await client.read() == answer(PUBREC, 7)
            assert len(station.taken) == 2


async def test_packet_ids_survive_the_station(version: Version) -> None:
    station = MemoryStation()
    async with serving(station) as server, version.connected(server) as client:
        client.send(version.publish(READINGS, b"1", 7))
        assert await client.read() == answer(PUBREC, 7)
    async with serving(station) as server, version.connected(server, present=True) as client:
        client.send(version.publish(READINGS, b"1", 7, again=True))
        assert await client.read() == answer(PUBREC, 7)
        client.send(acknowledge(PUBREL, 7))
        assert await client.read() == answer(PUBCOMP, 7)
        assert len(station.taken) == 1
    async with serving(station) as server, version.connected(server, present=True) as client:
        client.send(version.publish(READINGS, b"2", 7))
        assert await client.read() == answer(PUBREC, 7)
        assert len(station.taken) == 2


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_subscriber_gets_a_message_once_whenever_the_connection_ends(
    version: Version, *, restarts: bool
) -> None:
    station = MemoryStation()
    servers = asyncio.Queue[MqttServer]()
    first_over = asyncio.Event()

    async def serve_twice() -> None:
        async with serving(station) as server:
            servers.put_nowait(server)
            await first_over.wait()
            if not restarts:
                servers.put_nowait(server)
                await asyncio.Event().wait()
        async with serving(station) as server:
            servers.put_nowait(server)
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        serving_twice = tasks.create_task(serve_twice(), name="stations")
        server = await servers.get()
        async with version.connected(server) as client:
            client.send(version.subscribe("a"))
            await client.read()
            server.publish("org-a", "a", b"1", qos=2)
            server.publish("org-a", "a", b"2", qos=2)
            assert await version.read(client) == (b"1", 1, 2, False)
            assert await version.read(client) == (b"2", 2, 2, False)
            client.send(acknowledge(PUBREC, 1))
            assert await client.read() == answer(PUBREL, 1)
        await wait_until(lambda: server.counters.connections == 0)
        await wait_until(lambda: len(station.sessions.messages["org-a", "c1"]) == 2)
        first_over.set()
        server = await servers.get()
        async with version.connected(server, present=True) as client:
            assert await client.read() == answer(PUBREL, 1)
            assert await version.read(client) == (b"2", 2, 2, True)
            client.send(acknowledge(PUBCOMP, 1), acknowledge(PUBREC, 2))
            assert await client.read() == answer(PUBREL, 2)
            client.send(acknowledge(PUBCOMP, 2))
            await client.ping()
        await wait_until(lambda: not station.sessions.messages["org-a", "c1"])
        serving_twice.cancel()


async def test_an_unknown_receipt_is_answered(version: Version) -> None:
    async with serving(MemoryStation()) as server, version.connected(server) as client:
        client.send(acknowledge(PUBREC, 5))
        first, body = await client.read()
        expected = b"" if version.level == 4 else bytes((Reason.UNKNOWN_PACKET_ID,))
        assert (first, body) == (PUBREL, b"\0\5" + expected)


async def test_a_receipt_that_refuses_ends_the_exchange() -> None:
    version = Version(5)
    async with serving(MemoryStation()) as server, version.connected(server) as client:
        client.send(version.subscribe("a"))
        await client.read()
        server.publish("org-a", "a", b"1", qos=2)
        _, packet_id, _, _ = await version.read(client)
        client.send(acknowledge(PUBREC, packet_id, Reason.QUOTA_EXCEEDED))
        await client.ping()
        server.publish("org-a", "a", b"2", qos=2)
        assert (await version.read(client))[0] == b"2"


async def test_what_was_sent_to_a_client_that_left_is_sent_again_as_a_duplicate(
    version: Version,
) -> None:
    station = MemoryStation()
    async with serving(station) as server:
        async with version.connected(server) as client:
            client.send(version.subscribe("a"))
            await client.read()
        await wait_until(lambda: server.counters.connections == 0)
        server.publish("org-a", "a", b"1", qos=1)
        async with version.connected(server, present=True) as client:
            assert await version.read(client) == (b"1", 1, 1, False)
            server.publish("org-a", "a", b"2", qos=1)
            assert await version.read(client) == (b"2", 2, 1, False)
        await wait_until(lambda: server.counters.connections == 0)
        server.publish("org-a", "a", b"3", qos=1)
        await wait_until(lambda: len(station.sessions.messages["org-a", "c1"]) == 3)
    async with serving(station) as server, version.connected(server, present=True) as client:
        assert await version.read(client) == (b"1", 1, 1, True)
        assert await version.read(client) == (b"2", 2, 1, True)
        assert await version.read(client) == (b"3", 3, 1, False)


async def test_what_is_settled_late_writes_nothing_into_the_next_session(
    version: Version,
) -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server:
        async with version.connected(server) as client:
            client.send(version.publish(READINGS, b"1", 7))
            await wait_until(lambda: station.unsettled == 1)
        await wait_until(lambda: server.counters.connections == 0)
        connect = connected if version.level == 4 else connected5
        async with connect(server, "c1"):
            pass
        async with version.connected(server) as client:
            station.commit()
            await client.ping()
            client.send(version.subscribe("a"))
            await client.read()
            assert not station.sessions.received.get(("org-a", "c1"))


async def test_a_reading_stored_before_the_end_is_only_forwarded_when_it_comes_again(
    version: Version,
) -> None:
    station = MemoryStation()
    async with serving(station) as server:
        async with version.connected(server, "listener") as listener:
            listener.send(version.subscribe("#"))
            await listener.read()
        async with version.connected(server) as client:
            client.send(version.publish(READINGS, b"1", 7))
            assert await client.read() == answer(PUBREC, 7)
    station.sessions.received.clear()  # as if the end had come between the two commits
    station.sessions.messages.clear()
    async with serving(station) as server:
        async with version.connected(server, present=True) as client:
            client.send(version.publish(READINGS, b"1", 7, again=True))
            assert await client.read() == answer(PUBREC, 7)
            client.send(acknowledge(PUBREL, 7))
            assert await client.read() == answer(PUBCOMP, 7)
        async with version.connected(server, "listener", present=True) as listener:
            assert (await version.read(listener))[0] == b"1"
    assert len(station.taken) == 1
    assert station.sessions.exchanges == set()


async def test_the_packet_id_of_a_refused_reading_is_free_for_the_next() -> None:
    station = MemoryStation()
    station.verdicts[b"NaN"] = Verdict.REFUSED
    version = Version(5)
    async with serving(station) as server, version.connected(server) as client:
        client.send(version.publish(READINGS, b"NaN", 7))
        refused = await client.read()
        assert (refused.first, refused.body[2]) == (PUBREC, Reason.BAD_PAYLOAD)
        client.send(version.publish(READINGS, b"1", 7))
        assert await client.read() == answer(PUBREC, 7)
        await wait_until(lambda: (READINGS, b"1") in station.taken)
