"""What the system pages see of the MQTT server."""

from collections.abc import Iterable
from dataclasses import fields

from fieldstation.adapters.mqtt_server.options import MqttCounters
from fieldstation.adapters.mqtt_server.server import MqttServer

GAUGES = frozenset({"connections"})


class MqttHealth:
    """Reads a server's state and counters."""

    def __init__(self, server: MqttServer) -> None:
        self._server = server

    @property
    def is_open(self) -> bool:
        """Whether the server accepts connections."""
        return self._server.is_open

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return self._server.counters.connections

    def counters(self) -> Iterable[tuple[str, str, int]]:
        """Yield ``(name, help, value)`` of everything that only grows."""
        counted = self._server.counters
        for item in fields(MqttCounters):
            if item.name not in GAUGES:
                words = item.name.replace("_", " ")
                yield item.name, f"MQTT: {words}.", getattr(counted, item.name)
