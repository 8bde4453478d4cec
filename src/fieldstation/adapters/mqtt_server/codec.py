"""MQTT 3.1.1 on the wire: bytes to packets and packets to bytes, without any I/O.

``Decoder`` frames both versions; the bodies of MQTT 5 are in ``codec5``.
"""

import struct
from collections.abc import Callable, Iterable, Sequence

from fieldstation.adapters.mqtt_server.codec5 import (
    BODIES_5,
    connect_5,
    count_filters,
    read_publish_properties,
)
from fieldstation.adapters.mqtt_server.fields import Fields, decode_text, encode_size
from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.packets import (
    PROTOCOL_LEVEL,
    PROTOCOL_LEVEL_5,
    Connect,
    ConnectCode,
    Disconnect,
    Packet,
    Pingreq,
    ProtocolError,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
    Subscribe,
    Unsubscribe,
    UnsupportedProtocolError,
)
from fieldstation.adapters.mqtt_server.topics import topic_fault

TOPICS_CACHED_MAX = 128

PINGRESP = b"\xd0\x00"


class Decoder:
    """Turns the bytes of one connection into packets, however they were split.

    Bytes are parsed where they arrived; only a packet spread over several arrivals is joined, once.
    """

    def __init__(self, limits: PacketLimits) -> None:
        self._limits = limits
        self._packet_bytes_max = limits.packet_bytes_max
        self._buffer = b""
        self._at = 0
        self._tail = bytearray()
        self._wanted = 2
        self._topics: dict[bytes, str] = {}
        self._bodies = _BODIES
        self._speaks_5 = False
        self._aliases: dict[int, str] = {}

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
        read_publish = self._read_publish_5 if self._speaks_5 else self.read_publish
        try:
            while at + 2 <= end and len(found) < count_max:
                first = buffer[at]
                start = at + 2
                stop = start + buffer[at + 1]
                if buffer[at + 1] > 0x7F:
                    start, stop = self._long_size(buffer, at)
                if stop - at > self._packet_bytes_max:
                    raise ProtocolError(
                        f"a packet is longer than {self._packet_bytes_max} bytes",
                        Reason.PACKET_TOO_LARGE,
                    )
                if stop > end:
                    self._require_known(first)
                    self._wanted = stop - at
                    return
                if first & 0xF0 == PUBLISH:
                    found.append(read_publish(buffer, first, start, stop))
                else:
                    found.append(self._read_other(buffer, first, start, stop))
                    if first == CONNECT and self._speaks_5:
                        read_publish = self._read_publish_5
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
            if self._speaks_5 and not byte:
                raise ProtocolError("a remaining length has more bytes than it needs")
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
        topic = decode_text(raw_topic)
        if fault := topic_fault(topic, self._limits):
            raise ProtocolError(fault, Reason.BAD_TOPIC)
        if len(self._topics) >= TOPICS_CACHED_MAX:
            self._topics.clear()
        self._topics[raw_topic] = topic
        return topic

    def _read_publish_5(self, buffer: bytes, first: int, start: int, stop: int) -> Publish:
        """Read a PUBLISH of MQTT 5 and put the topic in place of its alias."""
        fields = Fields(buffer[start:stop], self._limits)
        raw_topic = fields.binary()
        qos = first >> 1 & 3
        if qos == 3 or (qos == 0 and first & 8):
            raise ProtocolError("a PUBLISH has QoS 3, or is a duplicate with QoS 0")
        packet_id = fields.packet_id() if qos else 0
        alias, properties = read_publish_properties(fields)
        if raw_topic:
            topic = self._topics.get(raw_topic) or self._read_topic(raw_topic)
            if alias:
                self._aliases[alias] = topic
        elif alias is None:
            raise ProtocolError("a PUBLISH has no topic", Reason.PROTOCOL_ERROR)
        elif (known := self._aliases.get(alias)) is None:
            raise ProtocolError("a topic alias stands for nothing", Reason.BAD_TOPIC_ALIAS)
        else:
            topic = known
        return Publish(topic, fields.rest(), packet_id, qos, first & 1 == 1, properties)

    def _read_other(self, buffer: bytes, first: int, start: int, stop: int) -> Packet:
        self._require_known(first)
        fields = Fields(buffer[start:stop], self._limits)
        packet = self._bodies[first](fields)
        fields.end()
        if isinstance(packet, Connect) and packet.level == PROTOCOL_LEVEL_5:
            if not buffer[start - 1]:
                raise ProtocolError("a remaining length has more bytes than it needs")
            self._speaks_5 = True
            self._bodies = BODIES_5 | {CONNECT: _connect}
        return packet

    def _require_known(self, first: int) -> None:
        """Refuse at once what is no MQTT, or not for us: HTTP or TLS on the wrong port, say."""
        if first & 0xF0 != PUBLISH and first not in self._bodies:
            raise ProtocolError(
                f"a packet begins with 0x{first:02x}, which no client may send here"
            )


def _connect(fields: Fields) -> Connect:
    name = fields.binary()
    if name == b"MQIsdp":
        raise UnsupportedProtocolError("MQTT 3.1 is not spoken here; use 3.1.1")
    if name != b"MQTT":
        raise ProtocolError("a CONNECT is not MQTT")
    level = fields.byte()
    if level == PROTOCOL_LEVEL_5:
        return connect_5(fields)
    if level != PROTOCOL_LEVEL:
        raise UnsupportedProtocolError(
            f"MQTT level {level} is not spoken here; use 3.1.1 or 5",
            newer=level > PROTOCOL_LEVEL_5,
        )
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


def _will(fields: Fields, flags: int) -> Publish | None:
    qos = flags >> 3 & 3
    retain = bool(flags & 0x20)
    if not flags & 4:
        if qos or retain:
            raise ProtocolError("a CONNECT without a will has will flags")
        return None
    if qos == 3:
        raise ProtocolError("a will has QoS 3")
    return Publish(fields.topic(), fields.binary(), 0, qos, retain)


def _puback(fields: Fields) -> Puback:
    return Puback(fields.packet_id())


def _subscribe(fields: Fields) -> Subscribe:
    packet_id = fields.packet_id()
    filters: list[tuple[str, int]] = []
    while fields.left() or not filters:
        topic_filter = fields.topic_filter()
        qos = fields.byte()
        if qos > 2:
            raise ProtocolError("a SUBSCRIBE asks for an impossible QoS")
        filters.append((topic_filter, qos))
        count_filters(filters, fields)
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(fields: Fields) -> Unsubscribe:
    packet_id = fields.packet_id()
    filters: list[str] = []
    while fields.left() or not filters:
        filters.append(fields.topic_filter())
        count_filters(filters, fields)
    return Unsubscribe(packet_id, tuple(filters))


CONNECT = 0x10
PUBLISH = 0x30

# The whole first byte is the key, so that wrong reserved bits find nothing.
_BODIES: dict[int, Callable[[Fields], Packet]] = {
    CONNECT: _connect,
    0x40: _puback,
    0x50: lambda fields: Pubrec(fields.packet_id()),
    0x62: lambda fields: Pubrel(fields.packet_id()),
    0x70: lambda fields: Pubcomp(fields.packet_id()),
    0x82: _subscribe,
    0xA2: _unsubscribe,
    0xC0: lambda _: Pingreq(),
    0xE0: lambda _: Disconnect(),
}


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


def encode_pubacks(packet_ids: Sequence[int]) -> bytes:
    """Encode one PUBACK for each packet id, in order."""
    return struct.pack(
        f">{len(packet_ids)}I", *[0x40020000 | packet_id for packet_id in packet_ids]
    )


def encode_acknowledgement(first: int, packet_id: int) -> bytes:
    """Encode PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return bytes((first, 2)) + packet_id.to_bytes(2, "big")


def encode_suback(packet_id: int, codes: Iterable[int]) -> bytes:
    """Encode the answer to SUBSCRIBE: the granted QoS, or 0x80, of each filter."""
    body = packet_id.to_bytes(2, "big") + bytes(codes)
    return b"\x90" + encode_size(len(body)) + body


def encode_unsuback(packet_id: int) -> bytes:
    """Encode the answer to UNSUBSCRIBE."""
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")
