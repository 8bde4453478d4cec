"""Reads the fields of a packet body in order."""

from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.packets import ProtocolError, Reason
from fieldstation.adapters.mqtt_server.topics import filter_fault, topic_fault


class Fields:
    """The body of one packet; never read past its end."""

    def __init__(self, body: bytes, limits: PacketLimits) -> None:
        self.limits = limits
        self._body = body
        self._at = 0

    def left(self) -> bool:
        """Whether there is more."""
        return self._at < len(self._body)

    def end(self) -> None:
        """Refuse what stands behind the last field."""
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

    def number(self, size: int = 2) -> int:
        return int.from_bytes(self.take(size), "big")

    def variable(self) -> int:
        """Read a variable byte integer."""
        value = 0
        for position in range(4):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * position
            if position and not byte:
                raise ProtocolError("a length has more bytes than it needs")
            if byte < 0x80:
                return value
        raise ProtocolError("a length has more than four bytes")

    def packet_id(self) -> int:
        packet_id = self.number()
        if packet_id == 0:
            raise ProtocolError("a packet id is 0")
        return packet_id

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return decode_text(self.binary())

    def topic(self) -> str:
        topic = self.text()
        if fault := topic_fault(topic, self.limits):
            raise ProtocolError(fault, Reason.BAD_TOPIC)
        return topic

    def topic_filter(self) -> str:
        topic_filter = self.text()
        if fault := filter_fault(topic_filter, self.limits):
            raise ProtocolError(fault, Reason.BAD_FILTER)
        return topic_filter

    def rest(self) -> bytes:
        """Take everything up to the end."""
        begin, self._at = self._at, len(self._body)
        return self._body[begin:]

    def since(self, begin: int) -> bytes:
        """Return the bytes read since a place that ``place`` gave."""
        return self._body[begin : self._at]

    @property
    def place(self) -> int:
        """Where the next field begins."""
        return self._at


def decode_text(raw: bytes) -> str:
    """Decode a text. Raises ``ProtocolError``."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("a text is not UTF-8") from error
    if "\0" in text:
        raise ProtocolError("a text holds U+0000")
    return text


def encode_size(size: int) -> bytes:
    """Encode a variable byte integer: a remaining length, the length of properties."""
    encoded = bytearray()
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def encode_text(text: str) -> bytes:
    """Encode a text with its length before it."""
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw
