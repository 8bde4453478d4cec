"""What MQTT 5 changes for a client that sends any bytes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from fieldstation.adapters.mqtt_server.fields import encode_size
from fieldstation.adapters.mqtt_server.packets import Reason
from fieldstation.adapters.mqtt_server.server import MqttServer
from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    SUBACK,
    RawClient,
    Received,
    packet,
    raw_client,
    text,
)
from tests.adapters.mqtt_server.station import PASSWORD

SIZES = {0x01: 1, 0x02: 4, 0x11: 4, 0x17: 1, 0x18: 4, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2, 0x27: 4}
TEXTS = frozenset({0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1F})
DISCONNECT = 0xE0

Properties = Mapping[int, int | bytes | list[tuple[str, str]]]


class Message5(NamedTuple):
    topic: str
    payload: bytes
    packet_id: int = 0
    qos: int = 0
    retain: bool = False
    duplicate: bool = False
    properties: tuple[tuple[int, object], ...] = ()


def property_bytes(found: Properties) -> bytes:
    encoded = b""
    for name, value in found.items():
        if name == 0x0B:
            assert isinstance(value, int)
            encoded += bytes((name,)) + encode_size(value)
        elif isinstance(value, int):
            encoded += bytes((name,)) + value.to_bytes(SIZES[name], "big")
        elif isinstance(value, bytes):
            encoded += bytes((name,)) + text(value)
        else:
            for key, each in value:
                encoded += bytes((name,)) + text(key) + text(each)
    return encode_size(len(encoded)) + encoded


def read_properties(body: bytes) -> tuple[list[tuple[int, object]], bytes]:
    """Return the properties at the beginning of a body, and what follows them."""
    size = body[0]
    assert size < 0x80, "tests stay small"
    rest, left = body[1 : 1 + size], body[1 + size :]
    found: list[tuple[int, object]] = []
    while rest:
        name, rest = rest[0], rest[1:]
        if name in TEXTS:
            end = 2 + int.from_bytes(rest[:2], "big")
            found.append((name, rest[2:end]))
        elif name == 0x26:
            middle = 2 + int.from_bytes(rest[:2], "big")
            end = middle + 2 + int.from_bytes(rest[middle : middle + 2], "big")
            found.append((name, (rest[2:middle].decode(), rest[middle + 2 : end].decode())))
        else:
            end = SIZES.get(name, 1)
            found.append((name, int.from_bytes(rest[:end], "big")))
        rest = rest[end:]
    return found, left


def connect5(
    client_id: str = "c1",
    *,
    username: str = "ann",
    password: str = PASSWORD,
    clean: bool = True,
    keep_alive_s: int = 0,
    properties: Properties | None = None,
    will: tuple[str, bytes, int, Properties] | None = None,
) -> bytes:
    flags = 0xC0 | clean << 1
    payload = text(client_id)
    if will is not None:
        topic, content, qos, of_will = will
        flags |= 4 | qos << 3
        payload += property_bytes(of_will) + text(topic) + text(content)
    payload += text(username) + text(password)
    head = text("MQTT") + bytes((5, flags)) + keep_alive_s.to_bytes(2, "big")
    return packet(0x10, head + property_bytes(properties or {}) + payload)


def publish5(
    topic: str,
    payload: bytes = b"1",
    *,
    packet_id: int = 0,
    qos: int | None = None,
    retain: bool = False,
    duplicate: bool = False,
    properties: Properties | None = None,
) -> bytes:
    level = (1 if packet_id else 0) if qos is None else qos
    body = text(topic) + (packet_id.to_bytes(2, "big") if level else b"")
    first = 0x30 | duplicate << 3 | level << 1 | retain
    return packet(first, body + property_bytes(properties or {}) + payload)


def subscribe5(
    *filters: tuple[str, int], packet_id: int = 1, properties: Properties | None = None
) -> bytes:
    body = b"".join(text(topic_filter) + bytes((options,)) for topic_filter, options in filters)
    return packet(0x82, packet_id.to_bytes(2, "big") + property_bytes(properties or {}) + body)


def disconnect5(code: int = 0, properties: Properties | None = None) -> bytes:
    return packet(DISCONNECT, bytes((code,)) + property_bytes(properties or {}))


def acknowledge(first: int, packet_id: int, code: int | None = None) -> bytes:
    return packet(first, packet_id.to_bytes(2, "big") + (b"" if code is None else bytes((code,))))


def read_message5(received: Received) -> Message5:
    first, body = received
    assert first & 0xF0 == 0x30, received
    qos = first >> 1 & 3
    end = 2 + int.from_bytes(body[:2], "big")
    topic, rest = body[2:end].decode(), body[end:]
    packet_id = 0
    if qos:
        packet_id, rest = int.from_bytes(rest[:2], "big"), rest[2:]
    found, payload = read_properties(rest)
    return Message5(topic, payload, packet_id, qos, bool(first & 1), bool(first & 8), tuple(found))


def code_of(received: Received, first: int) -> tuple[int, int]:
    """Return packet id and reason code of an acknowledgement."""
    assert received.first == first, received
    body = received.body
    return int.from_bytes(body[:2], "big"), body[2] if len(body) > 2 else 0


async def read_goodbye(client: RawClient) -> Reason:
    """Return the code of the DISCONNECT that must come, then the end."""
    received = await client.read()
    assert received.first == DISCONNECT, received
    assert await client.read_to_end() == b""
    return Reason(received.body[0])


async def subscribe_5(
    client: RawClient, *filters: tuple[str, int], properties: Properties | None = None
) -> bytes:
    client.send(subscribe5(*filters, properties=properties))
    received = await client.read()
    assert received.first == SUBACK, received
    return received.body[3:]


class Welcome(NamedTuple):
    present: bool
    code: int
    properties: dict[int, object]


async def read_connack(client: RawClient) -> Welcome:
    received = await client.read()
    assert received.first == CONNACK, received
    found, _ = read_properties(received.body[2:])
    return Welcome(bool(received.body[0]), received.body[1], dict(found))


@asynccontextmanager
async def connected5(
    server: MqttServer,
    client_id: str = "c1",
    *,
    username: str = "ann",
    clean: bool = True,
    keep_alive_s: int = 0,
    properties: Properties | None = None,
    will: tuple[str, bytes, int, Properties] | None = None,
    present: bool = False,
) -> AsyncIterator[RawClient]:
    async with raw_client(server) as client:
        client.send(
            connect5(
                client_id,
                username=username,
                clean=clean,
                keep_alive_s=keep_alive_s,
                properties=properties,
                will=will,
            )
        )
        welcome = await read_connack(client)
        assert (welcome.present, welcome.code) == (present, 0)
        yield client
