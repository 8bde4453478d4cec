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
from fieldstation.adapters.mqtt_server.packets import PROTOCOL_LEVEL_5, Connect, ConnectCode, Reason
from fieldstation.adapters.mqtt_server.sessions import Session

REFUSALS_311 = {
    Reason.BAD_CLIENT_ID: ConnectCode.BAD_CLIENT_ID,
    Reason.UNAVAILABLE: ConnectCode.UNAVAILABLE,
    Reason.BAD_CREDENTIALS: ConnectCode.BAD_CREDENTIALS,
    Reason.NOT_AUTHORIZED: ConnectCode.NOT_AUTHORIZED,
}


def welcome_5(
    connect: Connect,
    session: Session,
    options: MqttServerOptions,
    *,
    present: bool,
    client_id: str,
) -> bytes:
    """Encode the CONNACK that lets a client in."""
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


def refusal(connect: Connect | None, code: Reason, reason: str) -> bytes:
    """Encode the CONNACK that lets a client not in."""
    if connect and connect.level == PROTOCOL_LEVEL_5:
        return encode_refusal_5(code, reason)
    return encode_connack(REFUSALS_311.get(code, ConnectCode.UNAVAILABLE))
