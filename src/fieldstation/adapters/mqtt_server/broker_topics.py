"""``$SYS``: what a client may know of the broker, as far as it concerns its organization."""

from typing import TYPE_CHECKING

from fieldstation import __version__
from fieldstation.adapters.mqtt_server.packets import Publish

if TYPE_CHECKING:
    from fieldstation.adapters.mqtt_server.broker import Broker, Organization

PREFIX = "$SYS/"


class BrokerTopics:
    """Publishes the state of the broker to whoever asked for it, every so often."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self._started_s = broker.clock.monotonic()
        self._next_s = self._started_s + broker.options.broker_topics_interval_s

    def messages(self, organization: "Organization") -> list[Publish]:
        """Return the topics as they are now."""
        uptime_s = int(self._broker.clock.monotonic() - self._started_s)
        values = {
            "version": f"fieldstation {__version__}",
            "uptime": f"{uptime_s} seconds",
            "clients/connected": str(len(organization.clients)),
            "messages/received": str(organization.traffic.received),
            "messages/sent": str(organization.traffic.sent),
        }
        return [
            Publish(f"{PREFIX}broker/{name}", value.encode(), retain=True)
            for name, value in values.items()
        ]

    def publish_due(self, now_s: float) -> None:
        """Publish to every organization that listens; called a few times a second."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._broker.options.broker_topics_interval_s
        for organization in self._broker.organizations.values():
            if organization.space.has_listeners:
                for message in self.messages(organization):
                    organization.space.forward(message)
