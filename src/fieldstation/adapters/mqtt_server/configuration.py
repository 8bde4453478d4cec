"""What the settings mean for the MQTT server."""

import ssl

from fieldstation.adapters.mqtt_server.options import MqttServerOptions, PacketLimits
from fieldstation.core.settings import MqttSettings, SettingsError
from fieldstation.domains.messaging.schemas import TOPIC_BYTES_MAX


def mqtt_options(settings: MqttSettings) -> MqttServerOptions:
    """Return where the server listens and how much it takes."""
    return MqttServerOptions(
        host=settings.host,
        port=settings.port,
        tls_port=settings.tls_port or 0,
        connections_max=settings.connections_max,
        packets=PacketLimits(topic_bytes_max=TOPIC_BYTES_MAX),
    )


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """Return what the TLS port needs, or None when there is none. Raises ``SettingsError``."""
    if settings.tls_port is None:
        return None
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        raise SettingsError("MQTT_TLS_PORT needs MQTT_TLS_CERT_FILE and MQTT_TLS_KEY_FILE")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"MQTT_TLS_CERT_FILE or MQTT_TLS_KEY_FILE cannot be used: {error}"
        ) from error
    return context
