"""One MQTT connection on a bare socket: a failed write never hides what the station sent before."""

import asyncio
import socket
from typing import NamedTuple, Self

import msgspec

from tests.adapters.mqtt_server.raw_client import connect_bytes, publish_bytes
from tests.clients import TestDevice
from tests.faults.oracle import Batch

RECEIVE_BYTES = 65_536
CONNACK, PUBACK = 0x20, 0x40
DUPLICATE = 0x08


class Packet(NamedTuple):
    """A packet with a body of at most 127 bytes, as the station sends them to a publisher."""

    first: int
    body: bytes


def puback(packet_id: int) -> Packet:
    """Return the acknowledgement of a message."""
    return Packet(PUBACK, packet_id.to_bytes(2, "big"))


def publish_frame(
    batch: Batch, *, packet_id: int, again: bool = False, padding_bytes: int = 0
) -> bytes:
    """Encode a batch as a message of its device; QoS 0 with packet id 0."""
    topic = f"devices/{batch.keys[0].device_id}/readings"
    payload = msgspec.json.encode(batch.readings()) + b" " * padding_bytes
    frame = publish_bytes(topic, payload, packet_id=packet_id)
    return bytes((frame[0] | DUPLICATE,)) + frame[1:] if again else frame


class MqttLink:
    """Sends any bytes, receives short packets; the end of the connection is None."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = bytearray()

    @classmethod
    async def open(
        cls, port: int, device: TestDevice, *, client_id: str, keep_alive_s: int = 0
    ) -> Self:
        """Connect as a device; fails when the station refuses. Raises ``OSError``."""
        connected = socket.socket()
        connected.setblocking(False)
        link = cls(connected)
        try:
            await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", port))
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await link.send(
                connect_bytes(
                    client_id,
                    username=device.id,
                    password=device.api_key,
                    keep_alive_s=keep_alive_s,
                )
            )
            answer = await link.receive()
        except BaseException:
            link.close()
            raise
        if answer is None:
            link.close()
            raise ConnectionResetError("the station went away before CONNACK")
        assert answer == Packet(CONNACK, b"\x00\x00"), answer
        return link

    async def send(self, frame: bytes) -> None:
        """Write all of it, waiting while the station does not read. Raises ``OSError``."""
        await asyncio.get_running_loop().sock_sendall(self._socket, frame)

    async def receive(self) -> Packet | None:
        """Return the next packet, or None at the end, whatever brought it."""
        received = self._received
        while len(received) < 2 or len(received) < 2 + received[1]:
            try:
                part = await asyncio.get_running_loop().sock_recv(self._socket, RECEIVE_BYTES)
            except ConnectionError:
                part = b""
            if not part:
                return None
            received += part
        end = 2 + received[1]
        packet = Packet(received[0], bytes(received[2:end]))
        del received[:end]
        return packet

    def close(self) -> None:
        self._socket.close()
