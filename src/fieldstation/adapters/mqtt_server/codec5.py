"""What MQTT 5 says otherwise than 3.1.1 on the wire."""

from collections.abc import Callable, Iterable, Sequence

from fieldstation.adapters.mqtt_server import properties as names
from fieldstation.adapters.mqtt_server.fields import Fields, encode_size, encode_text
from fieldstation.adapters.mqtt_server.packets import (
    PROTOCOL_LEVEL_5,
    RECEIVE_MAXIMUM,
    Connect,
    Disconnect,
    MessageProperties,
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
)
from fieldstation.adapters.mqtt_server.properties import read_properties
from fieldstation.adapters.mqtt_server.topics import SHARED

# The reason codes that a client may send: in PUBACK and PUBREC, PUBREL and PUBCOMP, DISCONNECT.
OF_RECEIPT = frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})
OF_RELEASE = frozenset({0x00, 0x92})
OF_DISCONNECT = frozenset({0x00, 0x04, *range(0x80, 0x84), 0x90, *range(0x93, 0x9A)})


def connect_5(fields: Fields) -> Connect:
    """Read a CONNECT from its flags on."""
    flags = fields.byte()
    if flags & 1:
        raise ProtocolError("a CONNECT has its reserved flag")
    keep_alive_s = fields.number()
    found = read_properties(fields, names.OF_CONNECT)
    client_id = fields.text()
    if names.AUTHENTICATION_DATA in found.values and not found.values.get(
        names.AUTHENTICATION_METHOD
    ):
        raise ProtocolError("authentication data has no method", Reason.PROTOCOL_ERROR)
    will, will_delay_s = _will(fields, flags)
    return Connect(
        client_id=client_id,
        clean_session=bool(flags & 2),
        keep_alive_s=keep_alive_s,
        will=will,
        username=fields.text() if flags & 0x80 else None,
        password=fields.binary() if flags & 0x40 else None,
        level=PROTOCOL_LEVEL_5,
        session_expiry_s=found.number(names.SESSION_EXPIRY),
        receive_maximum=found.number(names.RECEIVE_MAXIMUM, RECEIVE_MAXIMUM),
        packet_bytes_max=found.number(names.PACKET_BYTES_MAXIMUM),
        topic_alias_max=found.number(names.TOPIC_ALIAS_MAXIMUM),
        will_delay_s=will_delay_s,
        authentication_method=found.text(names.AUTHENTICATION_METHOD),
    )


def _will(fields: Fields, flags: int) -> tuple[Publish | None, int]:
    qos = flags >> 3 & 3
    retain = bool(flags & 0x20)
    if not flags & 4:
        if qos or retain:
            raise ProtocolError("a CONNECT without a will has will flags")
        return None, 0
    if qos == 3:
        raise ProtocolError("a will has QoS 3")
    found = read_properties(fields, names.OF_WILL)
    will = Publish(fields.topic(), fields.binary(), 0, qos, retain, found.of_message())
    return will, found.number(names.WILL_DELAY)


def read_publish_properties(fields: Fields) -> tuple[int | None, MessageProperties | None]:
    """Return the topic alias and what belongs to the message."""
    found = read_properties(fields, names.OF_PUBLISH)
    alias = found.optional(names.TOPIC_ALIAS)
    if alias is not None and not 0 < alias <= fields.limits.topic_aliases_max:
        raise ProtocolError("a topic alias is out of range", Reason.BAD_TOPIC_ALIAS)
    return alias, found.of_message()


def _acknowledgement(fields: Fields, codes: frozenset[int]) -> tuple[int, int]:
    packet_id = fields.packet_id()
    code = _code(fields, codes)
    if fields.left():
        read_properties(fields, names.OF_ACKNOWLEDGEMENT)
    return packet_id, code


def _code(fields: Fields, codes: frozenset[int]) -> int:
    """Read the reason code that may stand at the end; no byte means success."""
    code = fields.byte() if fields.left() else 0
    if code not in codes:
        raise ProtocolError(f"reason code 0x{code:02x} is not for here", Reason.PROTOCOL_ERROR)
    return code


def _subscribe(fields: Fields) -> Subscribe:
    packet_id = fields.packet_id()
    found = read_properties(fields, names.OF_SUBSCRIBE)
    filters: list[tuple[str, int]] = []
    while fields.left() or not filters:
        topic_filter = fields.topic_filter()
        options = fields.byte()
        if options & 0xC0:
            raise ProtocolError("a SUBSCRIBE has reserved options")
        if options & 3 == 3 or options & 0x30 == 0x30:
            raise ProtocolError("a SUBSCRIBE has impossible options", Reason.PROTOCOL_ERROR)
        if options & 4 and topic_filter.startswith(SHARED):
            raise ProtocolError("a shared subscription cannot be no-local", Reason.PROTOCOL_ERROR)
        filters.append((topic_filter, options))
        count_filters(filters, fields)
    return Subscribe(packet_id, tuple(filters), found.number(names.SUBSCRIPTION_IDENTIFIER))


def _unsubscribe(fields: Fields) -> Unsubscribe:
    packet_id = fields.packet_id()
    read_properties(fields, names.OF_UNSUBSCRIBE)
    filters: list[str] = []
    while fields.left() or not filters:
        filters.append(fields.topic_filter())
        count_filters(filters, fields)
    return Unsubscribe(packet_id, tuple(filters))


def count_filters(filters: Sequence[object], fields: Fields) -> None:
    """Bound the filters of one packet."""
    if len(filters) > fields.limits.filters_max:
        raise ProtocolError(f"a packet names more than {fields.limits.filters_max} topic filters")


def _disconnect(fields: Fields) -> Disconnect:
    code = _code(fields, OF_DISCONNECT)
    if not fields.left():
        return Disconnect(code)
    found = read_properties(fields, names.OF_DISCONNECT)
    return Disconnect(code, found.optional(names.SESSION_EXPIRY))


def _auth(_: Fields) -> Packet:
    raise ProtocolError("no authentication method was agreed on", Reason.PROTOCOL_ERROR)


BODIES_5: dict[int, Callable[[Fields], Packet]] = {
    0x40: lambda fields: Puback(_acknowledgement(fields, OF_RECEIPT)[0]),
    0x50: lambda fields: Pubrec(*_acknowledgement(fields, OF_RECEIPT)),
    0x62: lambda fields: Pubrel(_acknowledgement(fields, OF_RELEASE)[0]),
    0x70: lambda fields: Pubcomp(_acknowledgement(fields, OF_RELEASE)[0]),
    0x82: _subscribe,
    0xA2: _unsubscribe,
    0xC0: lambda _: Pingreq(),
    0xE0: _disconnect,
    0xF0: _auth,
}


def _packet(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((first,)) + encode_size(len(body)) + body


def _with_size(encoded: bytes) -> bytes:
    return encode_size(len(encoded)) + encoded


def _reason_text(reason: str) -> bytes:
    return bytes((names.REASON_TEXT,)) + encode_text(reason) if reason else b""


def encode_number(name: int, value: int, size: int) -> bytes:
    """Encode a property that is a number of ``size`` bytes."""
    return bytes((name,)) + value.to_bytes(size, "big")


def encode_connack_5(code: int, *, session_present: bool = False, properties: bytes = b"") -> bytes:
    """Encode the answer to CONNECT."""
    return _packet(0x20, bytes((session_present, code)), _with_size(properties))


def encode_refusal_5(code: int, reason: str) -> bytes:
    """Encode a CONNACK that lets nobody in."""
    return encode_connack_5(code, properties=_reason_text(reason))


def encode_disconnect_5(code: int, reason: str) -> bytes:
    """Encode the station's own good-bye."""
    return _packet(0xE0, bytes((code,)), _with_size(_reason_text(reason)))


def encode_suback_5(packet_id: int, codes: Iterable[int]) -> bytes:
    """Encode the answer to SUBSCRIBE."""
    return _packet(0x90, packet_id.to_bytes(2, "big"), b"\0", bytes(codes))


def encode_unsuback_5(packet_id: int, codes: Iterable[int]) -> bytes:
    """Encode the answer to UNSUBSCRIBE."""
    return _packet(0xB0, packet_id.to_bytes(2, "big"), b"\0", bytes(codes))


def encode_acknowledgement_5(first: int, packet_id: int, code: int) -> bytes:
    """Encode PUBACK, PUBREC, PUBREL or PUBCOMP with a reason code."""
    return _packet(first, packet_id.to_bytes(2, "big"), bytes((code,)))


def encode_publish_5(
    message: Publish, topic: str, properties: bytes, *, duplicate: bool = False
) -> bytes:
    """Encode a message to a subscriber; the topic is empty where an alias stands for it."""
    first = 0x30 | duplicate << 3 | message.qos << 1 | message.retain
    packet_id = message.packet_id.to_bytes(2, "big") if message.qos else b""
    return _packet(first, encode_text(topic), packet_id, _with_size(properties), message.payload)
