"""The properties of MQTT 5 packets: which there are, where they may stand, how they are read."""

from collections.abc import Callable

from fieldstation.adapters.mqtt_server.fields import Fields
from fieldstation.adapters.mqtt_server.packets import MessageProperties, ProtocolError, Reason

PAYLOAD_FORMAT = 0x01
MESSAGE_EXPIRY = 0x02
CONTENT_TYPE = 0x03
RESPONSE_TOPIC = 0x08
CORRELATION = 0x09
SUBSCRIPTION_IDENTIFIER = 0x0B
SESSION_EXPIRY = 0x11
ASSIGNED_CLIENT_ID = 0x12
AUTHENTICATION_METHOD = 0x15
AUTHENTICATION_DATA = 0x16
REQUEST_PROBLEM = 0x17
WILL_DELAY = 0x18
REQUEST_RESPONSE = 0x19
REASON_TEXT = 0x1F
RECEIVE_MAXIMUM = 0x21
TOPIC_ALIAS_MAXIMUM = 0x22
TOPIC_ALIAS = 0x23
USER_PROPERTY = 0x26
PACKET_BYTES_MAXIMUM = 0x27

Value = int | str | bytes | None


def _flag(fields: Fields) -> int:
    value = fields.byte()
    if value > 1:
        raise ProtocolError("a property is neither 0 nor 1", Reason.PROTOCOL_ERROR)
    return value


def _positive(size: int) -> Callable[[Fields], int]:
    def read(fields: Fields) -> int:
        value = fields.number(size) if size else fields.variable()
        if value == 0:
            raise ProtocolError("a property must not be 0", Reason.PROTOCOL_ERROR)
        return value

    return read


def _pair(fields: Fields) -> None:
    fields.text()
    fields.text()


_READERS: dict[int, Callable[[Fields], Value]] = {
    PAYLOAD_FORMAT: _flag,
    MESSAGE_EXPIRY: lambda fields: fields.number(4),
    CONTENT_TYPE: Fields.text,
    RESPONSE_TOPIC: Fields.topic,
    CORRELATION: Fields.binary,
    SUBSCRIPTION_IDENTIFIER: _positive(0),
    SESSION_EXPIRY: lambda fields: fields.number(4),
    AUTHENTICATION_METHOD: Fields.text,
    AUTHENTICATION_DATA: Fields.binary,
    REQUEST_PROBLEM: _flag,
    WILL_DELAY: lambda fields: fields.number(4),
    REQUEST_RESPONSE: _flag,
    REASON_TEXT: Fields.text,
    RECEIVE_MAXIMUM: _positive(2),
    TOPIC_ALIAS_MAXIMUM: Fields.number,
    TOPIC_ALIAS: Fields.number,
    USER_PROPERTY: _pair,
    PACKET_BYTES_MAXIMUM: _positive(4),
}
FORWARDED = frozenset({PAYLOAD_FORMAT, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, USER_PROPERTY})
OF_PUBLISH = FORWARDED | {MESSAGE_EXPIRY, TOPIC_ALIAS}
OF_WILL = FORWARDED | {MESSAGE_EXPIRY, WILL_DELAY}
OF_CONNECT = frozenset(
    {
        SESSION_EXPIRY,
        RECEIVE_MAXIMUM,
        PACKET_BYTES_MAXIMUM,
        TOPIC_ALIAS_MAXIMUM,
        REQUEST_RESPONSE,
        REQUEST_PROBLEM,
        USER_PROPERTY,
        AUTHENTICATION_METHOD,
        AUTHENTICATION_DATA,
    }
)
OF_SUBSCRIBE = frozenset({SUBSCRIPTION_IDENTIFIER, USER_PROPERTY})
OF_UNSUBSCRIBE = frozenset({USER_PROPERTY})
OF_ACKNOWLEDGEMENT = frozenset({REASON_TEXT, USER_PROPERTY})
OF_DISCONNECT = frozenset({SESSION_EXPIRY, REASON_TEXT, USER_PROPERTY})


class Properties:
    """What was read: single values by their number, and the bytes to pass on."""

    def __init__(self) -> None:
        self.values: dict[int, Value] = {}
        self.forwarded = b""

    def number(self, name: int, default: int = 0) -> int:
        value = self.values.get(name)
        return value if isinstance(value, int) else default

    def optional(self, name: int) -> int | None:
        value = self.values.get(name)
        return value if isinstance(value, int) else None

    def text(self, name: int) -> str | None:
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def of_message(self) -> MessageProperties | None:
        """Return what belongs to the message itself, if anything."""
        expiry_s = self.optional(MESSAGE_EXPIRY)
        if not self.forwarded and expiry_s is None:
            return None
        return MessageProperties(self.forwarded, expiry_s)


NO_PROPERTIES = Properties()


def read_properties(fields: Fields, allowed: frozenset[int]) -> Properties:
    """Read a packet's properties. Raises ``ProtocolError`` for one out of place or given twice."""
    size = fields.variable()
    if not size:
        return NO_PROPERTIES
    inner = Fields(fields.take(size), fields.limits)
    found = Properties()
    forwarded: list[bytes] = []
    while inner.left():
        begin = inner.place
        name = inner.variable()
        if name not in allowed:
            raise ProtocolError(f"property 0x{name:02x} does not belong here", _fault_of(name))
        if name in found.values:
            raise ProtocolError(f"property 0x{name:02x} stands twice", Reason.PROTOCOL_ERROR)
        value = _READERS[name](inner)
        if name != USER_PROPERTY:
            found.values[name] = value
        if name in FORWARDED:
            forwarded.append(inner.since(begin))
    found.forwarded = b"".join(forwarded)
    return found


def _fault_of(name: int) -> Reason:
    return Reason.PROTOCOL_ERROR if name in _READERS else Reason.MALFORMED
