"""Sessions that outlive their connection, and messages whose delivery was interrupted."""

from typing import Any

import pytest

from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    RawClient,
    Received,
    puback_bytes,
    publish_bytes,
    subscribe_bytes,
)
from tests.adapters.mqtt_server.raw_client5 import acknowledge, publish5, subscribe5
from tests.clients import StationClient
from tests.conformance.doors import DOORS, VERSIONS
from tests.conformance.space import Space

PUBREC, PUBREL, PUBCOMP, DUP = 0x50, 0x62, 0x70, 0x08


def kept(version: int) -> dict[str, Any]:
    return {"clean": False} | ({"SessionExpiryInterval": 300} if version == 5 else {})


@DOORS
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_wait_for_a_client_that_is_away(
    space: Space, version: int, transport: str, qos: int
) -> None:
    """MQTT-3.1.2-4 to 3.1.2-6, 3.2.2-2, 3.2.2-3: kept with their order, QoS 0 is not."""
    session = {"client_id": space.name("c"), **kept(version)}
    with space.client(version, transport, **session) as client:
        assert not client.session_present
        client.subscribe(space.topic("#"))
    with space.client(version) as other:
        for number in range(10):
            other.publish(space.topic("a"), str(number), qos)
        other.publish(space.topic("a"), "not kept", 0)
    with space.client(version, transport, **session) as client:
        assert client.session_present
        assert client.texts(10) == [str(number) for number in range(10)]
        assert client.hears_nothing()
    with space.client(version, transport, client_id=session["client_id"]) as clean:
        assert not clean.session_present
        with space.client(version) as other:
            other.publish(space.topic("a"), "x")
        assert clean.hears_nothing()
    with space.client(version, transport, **session) as client:
        assert not client.session_present


async def enter(client: RawClient, space: Space, version: int, *, present: bool) -> None:
    wanted: dict[str, Any] = {"clean": False}
    if version == 5:
        wanted["properties"] = {0x11: 300}
    client.send(space.connect_bytes(version, **wanted))
    received = await client.read()
    assert (received.first, received.body[:2]) == (CONNACK, bytes((present, 0)))


def published(version: int, topic: str, packet_id: int, *, duplicate: bool = False) -> bytes:
    if version == 5:
        return publish5(topic, b"x", packet_id=packet_id, qos=2, duplicate=duplicate)
    frame = publish_bytes(topic, b"x", packet_id=packet_id, qos=2)
    return bytes((frame[0] | DUP * duplicate,)) + frame[1:]


@pytest.mark.anyio
@VERSIONS
@pytest.mark.parametrize("cut_after", ["PUBLISH", "PUBREC", "PUBREL"])
async def test_what_a_client_publishes_exactly_once_survives_any_cut(
    space: Space, version: int, cut_after: str
) -> None:
    """MQTT-4.3.3-1 to 4.3.3-13, 4.4.0-1: the receiver's side of QoS 2."""
    topic = space.topic("a")
    release = acknowledge(PUBREL, 7)
    with space.client(version) as ear:
        ear.subscribe(topic)
        async with space.raw() as client:
            await enter(client, space, version, present=False)
            client.send(published(version, topic, 7))
            assert await client.read() == Received(PUBREC, b"\0\7")
            if cut_after == "PUBREL":
                client.send(release)
                assert await client.read() == Received(PUBCOMP, b"\0\7")
        async with space.raw() as client:
            await enter(client, space, version, present=True)
            if cut_after == "PUBLISH":
                client.send(published(version, topic, 7, duplicate=True))
                assert await client.read() == Received(PUBREC, b"\0\7")
            client.send(release)
            received = await client.read()
            assert (received.first, received.body[:2]) == (PUBCOMP, b"\0\7")
            unknown = cut_after == "PUBREL" and version == 5
            assert received.body[2:] == (b"\x92" if unknown else b"")
        assert ear.texts(1) == ["x"]
        assert ear.hears_nothing()


async def subscribe(client: RawClient, version: int, topic: str, qos: int) -> None:
    client.send((subscribe_bytes if version == 4 else subscribe5)((topic, qos)))
    assert (await client.read()).body[-1] == qos


def packet_id_of(received: Received, topic: str) -> bytes:
    return received.body[2 + len(topic) :][:2]


@pytest.mark.anyio
@VERSIONS
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_not_acknowledged_comes_again_in_order_and_says_so(
    space: Space, version: int, qos: int
) -> None:
    """MQTT-3.3.1-1, 4.4.0-1, 4.6.0-1, 4.6.0-2."""
    topic = space.topic("a")
    with space.client(version) as other:
        async with space.raw() as client:
            await enter(client, space, version, present=False)
            await subscribe(client, version, topic, qos)
            for payload in "123":
                other.publish(topic, payload, qos)
            first = [await client.read() for _ in range(3)]
            assert {each.first & DUP for each in first} == {0}
        async with space.raw() as client:
            await enter(client, space, version, present=True)
            again = [await client.read() for _ in range(3)]
            assert [each.body for each in again] == [each.body for each in first]
            assert {each.first for each in again} == {0x30 | DUP | qos << 1}
            if qos == 1:
                ids = [int.from_bytes(packet_id_of(each, topic), "big") for each in again]
                client.send(*map(puback_bytes, ids))
            else:
                await finish(client, [packet_id_of(each, topic) for each in again])
        async with space.raw() as client:
            await enter(client, space, version, present=True)
            await client.ping()


async def finish(client: RawClient, packet_ids: list[bytes]) -> None:
    for packet_id in packet_ids:
        client.send(b"\x50\x02" + packet_id)
        assert await client.read() == Received(PUBREL, packet_id)
        client.send(b"\x70\x02" + packet_id)
    await client.ping()


@pytest.mark.anyio
@VERSIONS
async def test_a_release_that_was_not_completed_comes_again(space: Space, version: int) -> None:
    """MQTT-4.4.0-1: PUBREL is sent again, the message is not."""
    topic = space.topic("a")
    with space.client(version) as other:
        async with space.raw() as client:
            await enter(client, space, version, present=False)
            await subscribe(client, version, topic, 2)
            other.publish(topic, "x", 2)
            packet_id = packet_id_of(await client.read(), topic)
            client.send(b"\x50\x02" + packet_id)
            assert await client.read() == Received(PUBREL, packet_id)
        async with space.raw() as client:
            await enter(client, space, version, present=True)
            assert await client.read() == Received(PUBREL, packet_id)
            client.send(b"\x70\x02" + packet_id)
            await client.ping()


def test_a_session_of_mqtt_5_ends_with_its_expiry(space: Space) -> None:
    """MQTT-3.1.2-23: none without an interval, and none after 0 at DISCONNECT."""
    name = space.name("c")
    for expiry, at_disconnect, present in ((0, None, False), (300, 0, False), (300, 200, True)):
        wanted: dict[str, Any] = {"SessionExpiryInterval": expiry} if expiry else {}
        with space.client(5, client_id=name, clean=False, **wanted) as client:
            client.subscribe(space.topic("a"))
            at_end = {} if at_disconnect is None else {"SessionExpiryInterval": at_disconnect}
            client.leave(0, **at_end)
        with space.client(5, client_id=name, clean=False) as again:
            assert again.session_present is present


def test_an_expiry_that_is_too_long_is_shortened_and_told(space: Space) -> None:
    """MQTT-3.2.2-21: the client must use what the server says."""
    with space.client(5, SessionExpiryInterval=0xFFFFFFFF) as client:
        assert client.welcome is not None
        assert client.welcome.properties["SessionExpiryInterval"] == 86_400


@VERSIONS
def test_a_session_belongs_to_whoever_made_it(
    space: Space, version: int, owner: StationClient
) -> None:
    name = space.name("c")
    device = owner.register_device()
    with space.client(version, client_id=name, **kept(version)) as mine:
        mine.subscribe(space.topic("#"))
    as_device = {"username": device.id, "password": device.api_key}
    with space.client(version, client_id=name, **as_device, **kept(version)) as other:
        assert not other.session_present
    with space.client(version, client_id=name, **kept(version)) as mine:
        assert not mine.session_present
