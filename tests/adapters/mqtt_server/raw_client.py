"""A client that sends any bytes, right or wrong, and reads packets one by one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from fieldstation.adapters.mqtt_server.codec import encode_publish
from fieldstation.adapters.mqtt_server.fields import encode_size
from fieldstation.adapters.mqtt_server.packets import Connect, Publish
from fieldstation.adapters.mqtt_server.server import MqttServer
from tests.adapters.mqtt_server.station import PASSWORD

READ_TIMEOUT_S = 10.0

CONNACK = 0x20
PUBACK = 0x40
SUBACK = 0x90
UNSUBACK = 0xB0
PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"
DISCONNECT = b"\xe0\x00"


class Received(NamedTuple):
    first: int
    body: bytes


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + encode_size(len(body)) + body


def encode_connect(connect: Connect, *, level: int = 4, name: str = "MQTT") -> bytes:
    flags = connect.clean_session << 1
    payload = text(connect.client_id)
    if (will := connect.will) is not None:
        flags |= 4 | will.qos << 3 | will.retain << 5
        payload += text(will.topic) + text(will.payload)
    if connect.username is not None:
        flags |= 0x80
        payload += text(connect.username)
    if connect.password is not None:
        flags |= 0x40
        payload += text(connect.password)
    head = text(name) + bytes((level, flags)) + connect.keep_alive_s.to_bytes(2, "big")
    return packet(0x10, head + payload)


def connect_bytes(
    client_id: str = "c1",
    *,
    username: str | None = "ann",
    password: str | None = PASSWORD,
    clean: bool = True,
    keep_alive_s: int = 0,
    will: Publish | None = None,
) -> bytes:
    return encode_connect(
        Connect(
            client_id=client_id,
            clean_session=clean,
            keep_alive_s=keep_alive_s,
            will=will,
            username=username,
            password=None if password is None else password.encode(),
        )
    )


def subscribe_bytes(*filters: tuple[str, int], packet_id: int = 1) -> bytes:
    body = b"".join(text(topic_filter) + bytes((qos,)) for topic_filter, qos in filters)
    return packet(0x82, packet_id.to_bytes(2, "big") + body)


def unsubscribe_bytes(*filters: str, packet_id: int = 1) -> bytes:
    return packet(0xA2, packet_id.to_bytes(2, "big") + b"".join(map(text, filters)))


def publish_bytes(
    topic: str,
    payload: bytes = b"1",
    *,
    packet_id: int = 0,
    qos: int | None = None,
    retain: bool = False,
) -> bytes:
    level = (1 if packet_id else 0) if qos is None else qos
    return encode_publish(Publish(topic, payload, packet_id, level, retain))


def puback_bytes(packet_id: int) -> bytes:
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def read_publish(received: Received) -> Publish:
    first, body = received
    qos = first >> 1 & 3
    end = 2 + int.from_bytes(body[:2], "big")
    packet_id = int.from_bytes(body[end : end + 2], "big") if qos else 0
    payload = body[end + 2 :] if qos else body[end:]
    return Publish(body[2:end].decode(), payload, packet_id, qos, bool(first & 1))


class RawClient:
    """One TCP connection to the server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def read(self) -> Received:
        async with asyncio.timeout(READ_TIMEOUT_S):
            first = (await self.reader.readexactly(1))[0]
            size = shift = 0
            while True:
                byte = (await self.reader.readexactly(1))[0]
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return Received(first, await self.reader.readexactly(size))

    async def read_pubacks(self, count: int) -> list[int]:
        received = [await self.read() for _ in range(count)]
        assert {first for first, _ in received} == {PUBACK}
        return [int.from_bytes(body, "big") for _, body in received]

    async def read_message(self) -> Publish:
        received = await self.read()
        assert received.first & 0xF0 == 0x30, received
        return read_publish(received)

    async def read_to_end(self) -> bytes:
        """Return what comes until the server closes; an abort counts as closing."""
        received = b""
        async with asyncio.timeout(READ_TIMEOUT_S):
            with contextlib.suppress(ConnectionResetError):
                while part := await self.reader.read(65_536):
                    received += part
        return received

    async def ping(self) -> None:
        """Return once the server handled everything sent so far."""
        self.send(PINGREQ)
        assert await self.read() == Received(PINGRESP[0], b"")

    async def subscribe(self, *filters: tuple[str, int]) -> bytes:
        self.send(subscribe_bytes(*filters))
        first, body = await self.read()
        assert first == SUBACK
        return body[2:]

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            await self.writer.wait_closed()


@asynccontextmanager
async def raw_client(server: MqttServer) -> AsyncIterator[RawClient]:
    """Connect by TCP only."""
    client = RawClient(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def connected(
    server: MqttServer,
    client_id: str = "c1",
    *,
    username: str = "ann",
    clean: bool = True,
    keep_alive_s: int = 0,
    will: Publish | None = None,
    present: bool = False,
) -> AsyncIterator[RawClient]:
    """Connect and be accepted, with the session-present flag as expected."""
    async with raw_client(server) as client:
        client.send(
            connect_bytes(
                client_id, username=username, clean=clean, keep_alive_s=keep_alive_s, will=will
            )
        )
        assert await client.read() == Received(CONNACK, bytes((present, 0)))
        yield client
