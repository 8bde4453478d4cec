"""Bytes that no well-behaved client sends: each is told apart, and nobody else notices."""

import pytest

from tests.adapters.mqtt_server.raw_client import CONNACK, connect_bytes, packet, text
from tests.adapters.mqtt_server.raw_client5 import (
    acknowledge,
    connect5,
    disconnect5,
    publish5,
    read_goodbye,
    subscribe5,
)
from tests.conformance.doors import VERSIONS
from tests.conformance.space import Space

pytestmark = pytest.mark.anyio

MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
LONG_GROUP = "$share/" + "g" * 60_000 + "/a"

IN_BOTH = {
    "MQTT-2.1.3-1 reserved bits of PINGREQ": b"\xc1\x00",
    "MQTT-3.6.1-1 reserved bits of PUBREL": b"\x60\x02\x00\x01",
    "MQTT-3.8.1-1 reserved bits of SUBSCRIBE": b"\x80" + subscribe5(("a", 0))[1:],
    "MQTT-3.10.1-1 reserved bits of UNSUBSCRIBE": b"\xa0\x06\x00\x01\x00\x00\x01a",
    "MQTT-3.14.1-1 reserved bits of DISCONNECT": b"\xe1\x00",
    "a packet type that is reserved": b"\x00\x00",
    "CONNACK of a client": b"\x20\x02\x00\x00",
    "SUBACK of a client": b"\x90\x03\x00\x01\x00",
    "PINGRESP of a client": b"\xd0\x00",
    "PINGREQ with a body": b"\xc0\x01\x00",
    "MQTT-3.3.1-4 QoS 3": b"\x36\x06\x00\x01a\x00\x01\x00",
    "MQTT-3.3.1-2 DUP with QoS 0": b"\x38\x04\x00\x01a\x00",
    "MQTT-2.2.1-3 packet id 0": b"\x32\x06\x00\x01a\x00\x00\x00",
    "MQTT-1.5.4-1 no UTF-8": b"\x30\x05\x00\x02\xc3\x28\x00",
    "MQTT-1.5.4-1 a surrogate": b"\x30\x06\x00\x03\xed\xa0\x80\x00",
    "MQTT-1.5.4-2 U+0000": b"\x30\x04\x00\x01\x00\x00",
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "a PUBLISH shorter than its topic": b"\x30\x03\x00\x09a",
    "MQTT-3.8.3-2 a SUBSCRIBE without filters": b"\x82\x02\x00\x01",
}
IN_5 = {
    "MQTT-3.1.0-2 a second CONNECT": (connect5(), PROTOCOL_ERROR),
    "AUTH without a method": (packet(0xF0, b""), PROTOCOL_ERROR),
    "MQTT-3.3.2-2 a wildcard in a topic": (publish5("a/#"), 0x90),
    "MQTT-3.3.2-8 no topic and no alias": (publish5(""), PROTOCOL_ERROR),
    "MQTT-3.3.2-8 alias 0": (publish5("a", properties={0x23: 0}), 0x94),
    "MQTT-3.3.2-9 alias too large": (publish5("a", properties={0x23: 33}), 0x94),
    "an alias of nothing": (publish5("", properties={0x23: 7}), 0x94),
    "MQTT-3.3.2-14 a wildcard to answer to": (publish5("a", properties={0x08: b"+"}), 0x90),
    "MQTT-3.3.4-6 an identifier in PUBLISH": (
        publish5("a", properties={0x0B: 1}),
        PROTOCOL_ERROR,
    ),
    "a property that is unknown": (packet(0x30, text("a") + b"\x02\x7e\x00"), MALFORMED),
    "a property that stands twice": (
        packet(0x30, text("a") + b"\x04\x01\x00\x01\x00"),
        PROTOCOL_ERROR,
    ),
    "a payload format that is neither": (
        publish5("a", properties={0x01: 2}),
        PROTOCOL_ERROR,
    ),
    "MQTT-1.5.5-1 a padded length": (b"\x30\x84\x00\x00\x01a\x00", MALFORMED),
    "MQTT-3.8.3-4 no-local and shared": (subscribe5(("$share/g/a", 4)), PROTOCOL_ERROR),
    "MQTT-3.8.3-5 reserved options": (subscribe5(("a", 0x40)), MALFORMED),
    "a subscription with QoS 3": (subscribe5(("a", 3)), PROTOCOL_ERROR),
    "retain handling 3": (subscribe5(("a", 0x30)), PROTOCOL_ERROR),
    "identifier 0": (subscribe5(("a", 0), properties={0x0B: 0}), PROTOCOL_ERROR),
    "MQTT-4.7.1-1 # before the end": (subscribe5(("a/#/b", 0)), 0x8F),
    "MQTT-4.7.1-2 + in a level": (subscribe5(("a+", 0)), 0x8F),
    "MQTT-4.8.2-1 a group without a filter": (subscribe5(("$share/g", 0)), 0x8F),
    "MQTT-4.8.2-2 a wildcard in a group": (subscribe5(("$share/+/a", 0)), 0x8F),
    "a group of 60 KB": (subscribe5((LONG_GROUP, 0)), 0x8F),
    "MQTT-3.14.2-1 a server's code": (disconnect5(0x8E), PROTOCOL_ERROR),
    "MQTT-3.14.2-2 an expiry from nothing": (disconnect5(0, {0x11: 60}), PROTOCOL_ERROR),
    "MQTT-3.4.2-1 a code that is no PUBACK's": (acknowledge(0x40, 1, 0x92), PROTOCOL_ERROR),
    "a packet over 1 MiB": (b"\x30\xff\xff\xff\x7f", 0x95),
}
IN_3 = {
    "MQTT-3.1.0-2 a second CONNECT": connect_bytes(),
    "AUTH": b"\xf0\x00",
    "MQTT-3.3.2-2 a wildcard in a topic": b"\x30\x05\x00\x03a/#",
    "MQTT-4.7.3-1 an empty topic": b"\x30\x02\x00\x00",
    "MQTT-3.8.3-4 a subscription with QoS 3": b"\x82\x06\x00\x01\x00\x01a\x03",
    "a group of 60 KB": packet(0x82, b"\0\1" + text(LONG_GROUP) + b"\0"),
    "a packet over 1 MiB": b"\x30\xff\xff\xff\x7f",
}


@VERSIONS
@pytest.mark.parametrize("frame", IN_BOTH.values(), ids=IN_BOTH)
async def test_malformed_packets_end_the_connection(
    space: Space, version: int, frame: bytes
) -> None:
    """MQTT-4.8.0-1 (3.1.1), 4.13.1-1 (5)."""
    async with space.raw() as client:
        client.send(space.connect_bytes(version))
        assert (await client.read()).first == CONNACK
        client.send(frame)
        if version == 5:
            assert await read_goodbye(client) in {MALFORMED, PROTOCOL_ERROR}
        else:
            assert await client.read_to_end() == b""
    with space.client(version) as other:
        assert other.publish(space.topic("a"), "x") == 0


@pytest.mark.parametrize(("frame", "code"), IN_5.values(), ids=IN_5)
async def test_mqtt_5_says_what_was_wrong(space: Space, frame: bytes, code: int) -> None:
    async with space.raw() as client:
        client.send(space.connect_bytes(5))
        assert (await client.read()).first == CONNACK
        client.send(frame)
        assert await read_goodbye(client) == code


@pytest.mark.parametrize("frame", IN_3.values(), ids=IN_3)
async def test_mqtt_3_closes_for_what_is_wrong(space: Space, frame: bytes) -> None:
    async with space.raw() as client:
        client.send(space.connect_bytes(4))
        assert (await client.read()).first == CONNACK
        client.send(frame)
        assert await client.read_to_end() == b""


FIRST = {
    "MQTT-3.1.0-1 no CONNECT": (b"\xc0\x00", b""),
    "MQTT-3.1.2-1 another protocol": (packet(0x10, text("MQTX") + b"\4\2\0\0" + text("c")), b""),
    "MQTT-3.1.2-2 version 3.1": (packet(0x10, text("MQIsdp") + b"\3\2\0\0\0\0"), b"\x20\x02\0\1"),
    "MQTT-3.1.2-2 version 6": (
        packet(0x10, text("MQTT") + b"\6\2\0\0\0\0\0"),
        b"\x20",
    ),
    "MQTT-3.1.2-3 the reserved flag": (packet(0x10, text("MQTT") + b"\4\3\0\0\0\1c"), b""),
    "MQTT-3.1.2-22 a password alone": (
        packet(0x10, text("MQTT") + b"\4\x42\0\0\0\1c" + text("p")),
        b"",
    ),
    "MQTT-3.1.2-14 will QoS 3": (
        packet(0x10, text("MQTT") + b"\4\x1e\0\0\0\1c" + text("w") + text("x")),
        b"",
    ),
    "MQTT-3.1.2-11 will flags without a will": (
        packet(0x10, text("MQTT") + b"\4\x22\0\0\0\1c"),
        b"",
    ),
    "MQTT-3.1.3-8 no name and no clean session": (
        connect_bytes("", clean=False),
        b"\x20\x02\0\2",
    ),
    "receive maximum 0": (connect5(properties={0x21: 0}), b""),
    "packet size 0": (connect5(properties={0x27: 0}), b""),
    "an authentication method": (connect5(properties={0x15: b"SCRAM"}), b"\x20"),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", b""),
}


@pytest.mark.parametrize(("frame", "answer"), FIRST.values(), ids=FIRST)
async def test_what_is_no_good_connect(space: Space, frame: bytes, answer: bytes) -> None:
    async with space.raw() as client:
        client.send(frame)
        received = await client.read_to_end()
        assert received[: len(answer) or 1] == answer


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (packet(0x10, text("MQTT") + b"\6\2\0\0\0\0\0"), 0x84),
        (connect5("x" * 300), 0x85),
        (connect5(properties={0x15: b"SCRAM"}), 0x8C),
        (connect5(properties={0x27: 20}), 0x95),
    ],
    ids=["0x84 version", "0x85 client id", "0x8c authentication method", "0x95 packet size"],
)
async def test_the_codes_of_a_refused_connect(space: Space, frame: bytes, code: int) -> None:
    """MQTT-3.2.2-7: a code of 0x80 or more, then the end."""
    async with space.raw() as client:
        client.send(frame)
        received = await client.read()
        assert (received.first, received.body[:2]) == (CONNACK, bytes((0, code)))
        assert await client.read_to_end() == b""


@VERSIONS
async def test_a_frame_may_come_byte_by_byte(space: Space, version: int) -> None:
    async with space.raw() as client:
        for byte in space.connect_bytes(version) + b"\xc0\x00":
            client.send(bytes((byte,)))
            await client.writer.drain()
        assert (await client.read()).first == CONNACK
        assert (await client.read()).first == 0xD0
