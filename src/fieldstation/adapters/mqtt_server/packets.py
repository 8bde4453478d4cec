"""The packets a client sends, decoded."""

from enum import IntEnum

from msgspec import Struct


class ProtocolError(Exception):
    """The client broke MQTT 3.1.1 or one of our limits; the connection must be closed."""


class UnsupportedProtocolError(ProtocolError):
    """A CONNECT of a protocol version that is not spoken here (CONNACK 1)."""


class ConnectCode(IntEnum):
    """The return codes of CONNACK."""

    ACCEPTED = 0
    BAD_PROTOCOL = 1
    BAD_CLIENT_ID = 2
    UNAVAILABLE = 3
    BAD_CREDENTIALS = 4
    NOT_AUTHORIZED = 5


SUBSCRIPTION_REFUSED = 0x80


class Publish(Struct, frozen=True, gc=False):
    """One message; ``packet_id`` is 0 for QoS 0."""

    topic: str
    payload: bytes
    packet_id: int = 0
    qos: int = 0
    retain: bool = False


class Connect(Struct, frozen=True):
    """The first packet of a connection; the will is a message without packet id."""

    client_id: str
    clean_session: bool
    keep_alive_s: int
    will: Publish | None = None
    username: str | None = None
    password: bytes | None = None


class Puback(Struct, frozen=True):
    """The client has the message."""

    packet_id: int


class Subscribe(Struct, frozen=True):
    """Topic filters with the QoS asked for, at least one."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


class Unsubscribe(Struct, frozen=True):
    """Topic filters, at least one."""

    packet_id: int
    filters: tuple[str, ...]


class Pingreq(Struct, frozen=True):
    """The client is alive."""


class Disconnect(Struct, frozen=True):
    """The client leaves in good order; its will is void."""


Packet = Publish | Connect | Puback | Subscribe | Unsubscribe | Pingreq | Disconnect
