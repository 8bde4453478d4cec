"""MQTT 3.1.1 on the wire: bytes to packets and packets to bytes, without any I/O.

What MQTT 5 shares (framing, the field types) is in ``Decoder`` and ``_Fields``; what it changes
is the table ``_BODIES`` and the layout read by ``Decoder.read_publish``.
"""

import struct
from collections.abc import Callable, Iterable, Sequence

from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.packets import (
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    ProtocolError,
    Puback,
    Publish,
    Subscribe,
    Unsubscribe,
    UnsupportedProtocolError,
)
from fieldstation.adapters.mqtt_server.topics import filter_fault, topic_fault

PROTOCOL_LEVEL = 4
TOPICS_CACHED_MAX = 128

PINGRESP = b"\xd0\x00"


class Decoder:
    """Turns the bytes of one connection into packets, however they were split.

    Bytes are parsed where they arrived; only a packet spread over several arrivals is joined, once.
    """

    def __init__(self, limits: PacketLimits) -> None:
        self._limits = limits
        self._packet_bytes_max = limits.connect_bytes_max
        self._buffer = b""
        self._at = 0
        self._tail = bytearray()
        self._wanted = 2
        self._topics: dict[bytes, str] = {}

    @property
    def unparsed_bytes(self) -> int:
        """How many bytes wait here."""
        return len(self._buffer) - self._at + len(self._tail)

    @property
    def ready(self) -> bool:
        """Whether ``packets`` may have something to return or to raise."""
        return len(self._buffer) - self._at + len(self._tail) >= self._wanted

    def feed(self, received: bytes) -> None:
        """Take what arrived."""
        if self._at == len(self._buffer) and not self._tail:
            self._buffer = received
            self._at = 0
        else:
            self._tail += received

    def packets(self, count_max: int) -> list[Packet]:
        """Return the next packets, at most ``count_max``.

        Raises ``ProtocolError`` once everything before the violation has been returned, and then
        at every further call.
        """
        found: list[Packet] = []
        try:
            self._scan(found, count_max)
            if len(found) < count_max and self._tail and self.ready:
                self._buffer = b"".join((memoryview(self._buffer)[self._at :], self._tail))
                self._at = 0
                self._tail = bytearray()
                self._scan(found, count_max)
        except ProtocolError:
            if not found:
                raise
        return found

    def _scan(self, found: list[Packet], count_max: int) -> None:
        buffer = self._buffer
        end = len(buffer)
        at = self._at
        self._wanted = 2
        try:
            while at + 2 <= end and len(found) < count_max:
                first = buffer[at]
                start = at + 2
                stop = start + buffer[at + 1]
                if buffer[at + 1] > 0x7F:
                    start, stop = self._long_size(buffer, at)
                if stop - at > self._packet_bytes_max:
                    raise ProtocolError(f"a packet is longer than {self._packet_bytes_max} bytes")
                if stop > end:
                    _require_known(first)
                    self._wanted = stop - at
                    return
                if first & 0xF0 == PUBLISH:
                    found.append(self.read_publish(buffer, first, start, stop))
                else:
                    found.append(self._read_other(buffer, first, start, stop))
                at = stop
        finally:
            # An idle connection must not hold on to the last bytes it sent.
            self._buffer, self._at = (b"", 0) if at == end else (buffer, at)

    def _long_size(self, buffer: bytes, at: int) -> tuple[int, int]:
        """Return where a body begins and ends.

        One byte behind the buffer while its size is incomplete.
        """
        size = 0
        for position in range(4):
            place = at + 1 + position
            if place == len(buffer):
                return place, place + 1
            byte = buffer[place]
            size |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                return place + 1, place + 1 + size
        raise ProtocolError("a remaining length has more than four bytes")

    def read_publish(self, buffer: bytes, first: int, start: int, stop: int) -> Publish:
        """Read a PUBLISH from fixed positions: this is where the station's time goes."""
        if stop - start < 3:
            raise ProtocolError("a PUBLISH is too short")
        place = start + 2 + (buffer[start] << 8 | buffer[start + 1])
        raw_topic = buffer[start + 2 : place]
        topic = self._topics.get(raw_topic) or self._read_topic(raw_topic)
        qos = first >> 1 & 3
        packet_id = 0
        if qos:
            if qos == 3:
                raise ProtocolError("a PUBLISH has QoS 3")
            place += 2
            if place > stop:
                raise ProtocolError("a PUBLISH is shorter than its topic")
            packet_id = buffer[place - 2] << 8 | buffer[place - 1]
            if packet_id == 0:
                raise ProtocolError("a packet id is 0")
        elif place > stop or first & 8:
            raise ProtocolError("a PUBLISH is shorter than its topic, or a duplicate with QoS 0")
        return Publish(topic, buffer[place:stop], packet_id, qos, first & 1 == 1)

    def _read_topic(self, raw_topic: bytes) -> str:
        topic = _text(raw_topic)
        if fault := topic_fault(topic, self._limits):
            raise ProtocolError(fault)
        if len(self._topics) >= TOPICS_CACHED_MAX:
            self._topics.clear()
        self._topics[raw_topic] = topic
        return topic

    def _read_other(self, buffer: bytes, first: int, start: int, stop: int) -> Packet:
        read = _BODIES.get(first)
        if read is None:
            raise ProtocolError(
                f"a packet begins with 0x{first:02x}, which no client may send here"
            )
        fields = _Fields(buffer[start:stop], self._limits)
        packet = _BODIES[first](fields)
        fields.end()
        if first == CONNECT:
            self._packet_bytes_max = self._limits.packet_bytes_max
        return packet


class _Fields:
    """Reads the fields of one packet body in order; never past its end."""

    def __init__(self, body: bytes, limits: PacketLimits) -> None:
        self.limits = limits
        self._body = body
        self._at = 0

    def left(self) -> bool:
        return self._at < len(self._body)

    def end(self) -> None:
        if self.left():
            raise ProtocolError("a packet is longer than its fields")

    def take(self, size: int) -> bytes:
        begin = self._at
        self._at += size
        if self._at > len(self._body):
            raise ProtocolError("a packet is shorter than its fields")
        return self._body[begin : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        packet_id = self.number()
        if packet_id == 0:
            raise ProtocolError("a packet id is 0")
        return packet_id

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return _text(self.binary())

    def topic_filter(self) -> str:
        topic_filter = self.text()
        if fault := filter_fault(topic_filter, self.limits):
            raise ProtocolError(fault)
        return topic_filter


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("a text is not UTF-8") from error
    if "\0" in text:
        raise ProtocolError("a text holds U+0000")
    return text


def _connect(fields: _Fields) -> Connect:
    name = fields.binary()
    if name == b"MQIsdp":
        raise UnsupportedProtocolError("MQTT 3.1 is not spoken here; use 3.1.1")
    if name != b"MQTT":
        raise ProtocolError("a CONNECT is not MQTT")
    level = fields.byte()
    if level != PROTOCOL_LEVEL:
        raise UnsupportedProtocolError(f"MQTT protocol level {level} is not spoken here; use 3.1.1")
    flags = fields.byte()
    has_username, has_password = flags & 0x80, flags & 0x40
    if flags & 1 or (has_password and not has_username):
        raise ProtocolError("a CONNECT has impossible flags")
    keep_alive_s = fields.number()
    client_id = fields.text()
    return Connect(
        client_id=client_id,
        clean_session=bool(flags & 2),
        keep_alive_s=keep_alive_s,
        will=_will(fields, flags),
        username=fields.text() if has_username else None,
        password=fields.binary() if has_password else None,
    )


def _will(fields: _Fields, flags: int) -> Publish | None:
    qos = flags >> 3 & 3
    retain = bool(flags & 0x20)
    if not flags & 4:
        if qos or retain:
            raise ProtocolError("a CONNECT without a will has will flags")
        return None
    if qos == 3:
        raise ProtocolError("a will has QoS 3")
    topic = fields.text()
    if fault := topic_fault(topic, fields.limits):
        raise ProtocolError(fault)
    return Publish(topic, fields.binary(), 0, qos, retain)


def _puback(fields: _Fields) -> Puback:
    return Puback(fields.packet_id())


def _subscribe(fields: _Fields) -> Subscribe:
    packet_id = fields.packet_id()
    filters: list[tuple[str, int]] = []
    while fields.left() or not filters:
        topic_filter = fields.topic_filter()
        qos = fields.byte()
        if qos > 2:
            raise ProtocolError("a SUBSCRIBE asks for an impossible QoS")
        filters.append((topic_filter, qos))
        _count(filters, fields.limits)
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(fields: _Fields) -> Unsubscribe:
    packet_id = fields.packet_id()
    filters: list[str] = []
    while fields.left() or not filters:
        filters.append(fields.topic_filter())
        _count(filters, fields.limits)
    return Unsubscribe(packet_id, tuple(filters))


def _count(filters: Sequence[object], limits: PacketLimits) -> None:
    if len(filters) > limits.filters_max:
        raise ProtocolError(f"a packet names more than {limits.filters_max} topic filters")


CONNECT = 0x10
PUBLISH = 0x30

# The whole first byte is the key, so that wrong reserved bits find nothing. What belongs to QoS 2
# (PUBREC, PUBREL, PUBCOMP) is absent.
_BODIES: dict[int, Callable[[_Fields], Packet]] = {
    CONNECT: _connect,
    0x40: _puback,
    0x82: _subscribe,
    0xA2: _unsubscribe,
    0xC0: lambda _: Pingreq(),
    0xE0: lambda _: Disconnect(),
}


def _require_known(first: int) -> None:
    """Refuse at once what is no MQTT, or not for us: HTTP or TLS on the wrong port, say."""
    if first & 0xF0 != PUBLISH and first not in _BODIES:
        raise ProtocolError(f"a packet begins with 0x{first:02x}, which no client may send here")


def encode_connack(code: ConnectCode, *, session_present: bool = False) -> bytes:
    """Encode the answer to CONNECT."""
    return bytes((0x20, 2, session_present, code))


def encode_publish(message: Publish, *, duplicate: bool = False) -> bytes:
    """Encode a message to a subscriber."""
    topic = message.topic.encode()
    first = 0x30 | duplicate << 3 | message.qos << 1 | message.retain
    packet_id = message.packet_id.to_bytes(2, "big") if message.qos else b""
    size = 2 + len(topic) + len(packet_id) + len(message.payload)
    return b"".join(
        (
            bytes((first,)),
            encode_size(size),
            len(topic).to_bytes(2, "big"),
            topic,
            packet_id,
            message.payload,
        )
    )


def encode_size(size: int) -> bytes:
    """Encode a remaining length."""
    encoded = bytearray()
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def encode_pubacks(packet_ids: Sequence[int]) -> bytes:
    """Encode one PUBACK for each packet id, in order."""
    return struct.pack(
        f">{len(packet_ids)}I", *[0x40020000 | packet_id for packet_id in packet_ids]
    )


def encode_suback(packet_id: int, codes: Iterable[int]) -> bytes:
    """Encode the answer to SUBSCRIBE: the granted QoS, or 0x80, of each filter."""
    body = packet_id.to_bytes(2, "big") + bytes(codes)
    return b"\x90" + encode_size(len(body)) + body


def encode_unsuback(packet_id: int) -> bytes:
    """Encode the answer to UNSUBSCRIBE."""
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")
