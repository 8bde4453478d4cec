"""CONNACK: who is let in and why not; in MQTT 5, what the server takes and what it changed."""

from fieldstation.adapters.mqtt_server import properties as names
from fieldstation.adapters.mqtt_server.codec import encode_connack
from fieldstation.adapters.mqtt_server.codec5 import (
    encode_connack_5,
    encode_number,
    encode_refusal_5,
)
from fieldstation.adapters.mqtt_server.fields import encode_text
from fieldstation.adapters.mqtt_server.options import MqttServerOptions
from fieldstation.adapters.mqtt_server.packets import (
    PROTOCOL_LEVEL_5,
    Connect,
    ConnectCode,
    Reason,
    UnsupportedProtocolError,
)
from fieldstation.adapters.mqtt_server.sessions import Session

REFUSALS_311 = {
    Reason.BAD_CLIENT_ID: ConnectCode.BAD_CLIENT_ID,
    Reason.UNAVAILABLE: ConnectCode.UNAVAILABLE,
    Reason.BAD_CREDENTIALS: ConnectCode.BAD_CREDENTIALS,
    Reason.NOT_AUTHORIZED: ConnectCode.NOT_AUTHORIZED,
}

WELCOME_BYTES = 21
ASSIGNED_BYTES = 39


def welcome(
    connect: Connect,
    session: Session,
    options: MqttServerOptions,
    *,
    present: bool,
    client_id: str,
) -> bytes:
    """Encode the CONNACK that lets a client in."""
    if connect.level != PROTOCOL_LEVEL_5:
        return encode_connack(ConnectCode.ACCEPTED, session_present=present)
    properties = [
        encode_number(names.RECEIVE_MAXIMUM, options.receive_maximum, 2),
        encode_number(names.PACKET_BYTES_MAXIMUM, options.packets.packet_bytes_max, 4),
        encode_number(names.TOPIC_ALIAS_MAXIMUM, options.packets.topic_aliases_max, 2),
    ]
    if session.expiry_s != connect.session_expiry_s:
        properties.append(encode_number(names.SESSION_EXPIRY, session.expiry_s, 4))
    if not connect.client_id:
        properties.append(bytes((names.ASSIGNED_CLIENT_ID,)) + encode_text(client_id))
    return encode_connack_5(0, session_present=present, properties=b"".join(properties))


def takes_welcome(connect: Connect) -> bool:
    """Whether a client takes packets as large as the CONNACK that would let it in.

    Whoever does takes every packet of the server but PUBLISH, SUBACK and UNSUBACK.
    """
    needed = WELCOME_BYTES if connect.client_id else WELCOME_BYTES + ASSIGNED_BYTES
    return not connect.packet_bytes_max or needed <= connect.packet_bytes_max


def unsupported(error: UnsupportedProtocolError) -> bytes:
    """Encode the CONNACK for a version that is not spoken here."""
    if error.newer:
        return encode_refusal_5(error.code, str(error))
    return encode_connack(ConnectCode.BAD_PROTOCOL)


def refusal(connect: Connect | None, code: Reason, reason: str) -> bytes:
    """Encode the CONNACK that lets a client not in."""
    if connect and connect.level == PROTOCOL_LEVEL_5:
        frames = (encode_refusal_5(code, text) for text in (reason, ""))
        bytes_max = connect.packet_bytes_max
        return next((each for each in frames if not bytes_max or len(each) <= bytes_max), b"")
    return encode_connack(REFUSALS_311.get(code, ConnectCode.UNAVAILABLE))
