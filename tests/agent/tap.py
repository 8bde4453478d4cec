"""A wire tap between agent and broker: it records what was published and what was acknowledged.

Mosquitto acknowledges before it has delivered, so that a subscriber cannot tell after a kill what
arrived; on the wire it can be told. The tap can also lose an acknowledgement.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple, Self

PUBLISH, PUBACK = 3, 4


class Series(NamedTuple):
    """A reading as the station tells readings apart, with its value."""

    sensor_type: str
    sensor_id: str
    timestamp: str
    value: float


class Message(NamedTuple):
    """One PUBLISH."""

    topic: str
    payload: bytes


class Tap:
    """Accepts on a port of its own and passes everything to the broker's, packet by packet."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.published: list[Message] = []
        self.acknowledged: list[Message] = []
        self.lose_acknowledgements = 0
        self._flowing = threading.Event()
        self._flowing.set()

    def hold(self) -> None:
        """Pass nothing more to the agent, as a station that cannot commit does."""
        self._flowing.clear()

    def acknowledged_readings(self) -> list[Series]:
        return [
            Series(item["sensor_type"], item["sensor_id"], item["timestamp"], item["value"])
            for message in list(self.acknowledged)
            if message.topic.endswith("/readings")
            for item in json.loads(message.payload)["readings"]
        ]

    def acknowledged_timestamps(self) -> set[str]:
        return {reading.timestamp for reading in self.acknowledged_readings()}

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._flowing.set()
        close(self._server)
        self._threads[0].join(timeout=5)
        for sock in self._sockets:
            close(sock)
        for thread in self._threads:
            thread.join(timeout=5)
        assert not any(thread.is_alive() for thread in self._threads)

    def _run(self, target: object, *arguments: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                agent, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(agent)
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
            except OSError:
                close(agent)
                continue
            self._sockets.append(broker)
            unacknowledged: dict[int, Message] = {}
            self._run(self._pass_up, agent, broker, unacknowledged)
            self._run(self._pass_down, broker, agent, unacknowledged)

    def _pass_up(
        self, agent: socket.socket, broker: socket.socket, unacknowledged: dict[int, Message]
    ) -> None:
        for packet in packets(agent):
            if packet[0] >> 4 == PUBLISH:
                message_id, message = read_publish(packet)
                unacknowledged[message_id] = message
                self.published.append(message)
            if not send(broker, packet):
                break
        close(broker)

    def _pass_down(
        self, broker: socket.socket, agent: socket.socket, unacknowledged: dict[int, Message]
    ) -> None:
        for packet in packets(broker):
            self._flowing.wait(30)
            if packet[0] >> 4 == PUBACK:
                if self.lose_acknowledgements:
                    self.lose_acknowledgements -= 1
                    break
                message_id = int.from_bytes(packet[2:4], "big")
                self.acknowledged.append(unacknowledged.pop(message_id))
            if not send(agent, packet):
                break
        close(agent)
        close(broker)


def packets(sock: socket.socket) -> Iterator[bytes]:
    """Yield whole MQTT packets until the peer is gone."""
    buffer = bytearray()
    while True:
        try:
            block = sock.recv(65_536)
        except OSError:
            return
        if not block:
            return
        buffer += block
        while (size := packet_size(buffer)) and len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]


def packet_size(buffer: bytes | bytearray) -> int:
    """Return the size of the first packet, or 0 while its header is incomplete."""
    length = shift = 0
    for position, byte in enumerate(buffer[1:5], start=2):
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return position + length
        shift += 7
    return 0


def read_publish(packet: bytes) -> tuple[int, Message]:
    start = 1 + next(index for index, byte in enumerate(packet[1:5], start=1) if byte < 0x80)
    topic_end = start + 2 + int.from_bytes(packet[start : start + 2], "big")
    topic = packet[start + 2 : topic_end].decode()
    message_id = int.from_bytes(packet[topic_end : topic_end + 2], "big")
    return message_id, Message(topic, packet[topic_end + 2 :])


def send(sock: socket.socket, packet: bytes) -> bool:
    try:
        sock.sendall(packet)
    except OSError:
        return False
    return True


def close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
