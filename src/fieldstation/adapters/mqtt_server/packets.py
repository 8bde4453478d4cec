"""The packets a client sends, decoded."""

from enum import IntEnum

from msgspec import Struct


class Reason(IntEnum):
    """The reason codes of MQTT 5 that are said or understood here."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL = 0x04
    NO_SUBSCRIPTION = 0x11
    UNSPECIFIED = 0x80
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    BAD_CLIENT_ID = 0x85
    BAD_CREDENTIALS = 0x86
    NOT_AUTHORIZED = 0x87
    UNAVAILABLE = 0x88
    SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    TAKEN_OVER = 0x8E
    BAD_FILTER = 0x8F
    BAD_TOPIC = 0x90
    UNKNOWN_PACKET_ID = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    BAD_TOPIC_ALIAS = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE = 0x98
    BAD_PAYLOAD = 0x99


class ProtocolError(Exception):
    """The client broke MQTT or one of our limits; the connection must be closed."""

    def __init__(self, fault: str, code: Reason = Reason.MALFORMED) -> None:
        super().__init__(fault)
        self.code = code


class UnsupportedProtocolError(ProtocolError):
    """A CONNECT of a protocol version that is not spoken here: CONNACK 1, or 0x84 in the form of
    MQTT 5 for what is ``newer``."""

    def __init__(self, fault: str, *, newer: bool = False) -> None:
        super().__init__(fault, Reason.UNSUPPORTED_VERSION)
        self.newer = newer


class ConnectCode(IntEnum):
    """The return codes of CONNACK in MQTT 3.1.1."""

    ACCEPTED = 0
    BAD_PROTOCOL = 1
    BAD_CLIENT_ID = 2
    UNAVAILABLE = 3
    BAD_CREDENTIALS = 4
    NOT_AUTHORIZED = 5


SUBSCRIPTION_REFUSED = 0x80
PROTOCOL_LEVEL = 4
PROTOCOL_LEVEL_5 = 5
RECEIVE_MAXIMUM = 0xFFFF


class MessageProperties(Struct, frozen=True, gc=False):
    """What MQTT 5 adds to a message.

    ``forwarded`` are the encoded properties that subscribers get unchanged: format, content type,
    response topic, correlation, user properties.
    """

    forwarded: bytes = b""
    expiry_s: int | None = None


class Publish(Struct, frozen=True, gc=False):
    """One message; ``packet_id`` is 0 for QoS 0."""

    topic: str
    payload: bytes
    packet_id: int = 0
    qos: int = 0
    retain: bool = False
    properties: MessageProperties | None = None


class Connect(Struct, frozen=True):
    """The first packet of a connection; the will is a message without packet id.

    ``session_expiry_s`` None leaves it to the server, as MQTT 3.1.1 does.
    """

    client_id: str
    clean_session: bool
    keep_alive_s: int
    will: Publish | None = None
    username: str | None = None
    password: bytes | None = None
    level: int = PROTOCOL_LEVEL
    session_expiry_s: int | None = None
    receive_maximum: int = RECEIVE_MAXIMUM
    packet_bytes_max: int = 0
    topic_alias_max: int = 0
    will_delay_s: int = 0
    authentication_method: str | None = None


class Puback(Struct, frozen=True):
    """The client has the message (QoS 1)."""

    packet_id: int


class Pubrec(Struct, frozen=True):
    """The client has the message (QoS 2), or refuses it."""

    packet_id: int
    code: int = 0


class Pubrel(Struct, frozen=True):
    """The client will not send this message (QoS 2) again."""

    packet_id: int


class Pubcomp(Struct, frozen=True):
    """The client forgot the packet id."""

    packet_id: int


class Subscribe(Struct, frozen=True):
    """Topic filters, at least one, each with its options; in MQTT 3.1.1 those are the QoS."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]
    identifier: int = 0


class Unsubscribe(Struct, frozen=True):
    """Topic filters, at least one."""

    packet_id: int
    filters: tuple[str, ...]


class Pingreq(Struct, frozen=True):
    """The client is alive."""


class Disconnect(Struct, frozen=True):
    """The client leaves in good order; its will is void unless the code says otherwise."""

    code: int = 0
    session_expiry_s: int | None = None


Packet = (
    Publish
    | Connect
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Unsubscribe
    | Pingreq
    | Disconnect
)
