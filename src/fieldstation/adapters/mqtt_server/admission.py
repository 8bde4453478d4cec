"""Why a client is not let in."""

from typing import NamedTuple

from fieldstation.adapters.mqtt_server.options import MqttServerOptions
from fieldstation.adapters.mqtt_server.packets import PROTOCOL_LEVEL_5, Connect, Reason
from fieldstation.adapters.mqtt_server.ports import MqttCredentials, MqttIdentity, MqttStation
from fieldstation.adapters.mqtt_server.transport import ByteTransport, verified_certificate
from fieldstation.adapters.mqtt_server.welcome import takes_welcome


class Objection(NamedTuple):
    """What CONNACK says, and what the log says."""

    code: Reason
    reason: str


def objection_to_connect(connect: Connect, options: MqttServerOptions) -> Objection | None:
    """Say what is wrong with a CONNECT, whoever sent it."""
    nameless = not connect.client_id and not connect.clean_session
    nameless_is_wrong = nameless and connect.level != PROTOCOL_LEVEL_5
    if nameless_is_wrong or len(connect.client_id.encode()) > options.client_id_bytes_max:
        return Objection(Reason.BAD_CLIENT_ID, "an impossible client id")
    if not takes_welcome(connect):
        return Objection(Reason.PACKET_TOO_LARGE, "the client takes no packet of a useful size")
    if connect.authentication_method is not None:
        return Objection(Reason.BAD_AUTHENTICATION_METHOD, "no such authentication method")
    return None


def credentials_of(connect: Connect, transport: ByteTransport | None) -> MqttCredentials:
    """Return what a client brought to say who it is."""
    peer = transport.get_extra_info("peername") if transport else None
    return MqttCredentials(
        client_id=connect.client_id,
        username=connect.username,
        password=connect.password,
        peer=str(peer[0]) if isinstance(peer, tuple) else "",
        certificate=verified_certificate(transport),
    )


def objection_to_identity(
    identity: MqttIdentity, connect: Connect, station: MqttStation
) -> Objection | None:
    """Say what speaks against a client that is known."""
    if connect.will and not station.may_publish(identity, connect.will.topic):
        return Objection(Reason.NOT_AUTHORIZED, "this client may not publish its will")
    if connect.level != PROTOCOL_LEVEL_5 and station.is_over_quota(identity):
        return Objection(Reason.QUOTA_EXCEEDED, "the organization may store no more")
    return None
