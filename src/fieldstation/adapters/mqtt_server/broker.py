"""What the connections of one server share."""

import asyncio
from typing import TYPE_CHECKING

from fieldstation.adapters.mqtt_server.broker_topics import BrokerTopics
from fieldstation.adapters.mqtt_server.keeper import Keeper
from fieldstation.adapters.mqtt_server.options import MqttCounters, MqttServerOptions, Traffic
from fieldstation.adapters.mqtt_server.packets import Reason
from fieldstation.adapters.mqtt_server.peers import Peers
from fieldstation.adapters.mqtt_server.ports import MqttIdentity, MqttNodes, MqttStation
from fieldstation.adapters.mqtt_server.pump import Pump
from fieldstation.adapters.mqtt_server.sessions import Sessions
from fieldstation.adapters.mqtt_server.shared import split_shared
from fieldstation.adapters.mqtt_server.space import TopicSpace
from fieldstation.adapters.mqtt_server.strangers import Strangers
from fieldstation.adapters.mqtt_server.wills import Wills
from fieldstation.core.clock import Clock
from fieldstation.domains.messaging.schemas import KeptSession

if TYPE_CHECKING:
    from fieldstation.adapters.mqtt_server.connection import MqttConnection


class Organization:
    """The topics, sessions and connected clients of one organization."""

    def __init__(self, broker: "Broker", organization_id: str) -> None:
        options, counters, clock = broker.options, broker.counters, broker.clock
        self.traffic = Traffic()
        self.space = TopicSpace(options.space, counters, clock)
        self.id = organization_id
        self.sessions = Sessions(
            organization_id,
            self.space,
            options,
            counters,
            keeper=broker.keeper,
            clock=clock,
            traffic=self.traffic,
            shared=broker.is_shared,
        )
        self.clients: dict[str, MqttConnection] = {}


class Broker:
    """Holds the organizations and the connections, and finds the latter by whom they belong to."""

    def __init__(
        self,
        options: MqttServerOptions,
        station: MqttStation,
        clock: Clock,
        nodes: MqttNodes | None = None,
    ) -> None:
        self.options = options
        self.station = station
        self.clock = clock
        self.counters = MqttCounters()
        self.pump = Pump(clock, turn_ms=options.pump_turn_ms)
        self.keeper = Keeper(station, options, self.counters)
        self.wills = Wills(station, options, self.counters, clock)
        self.topics = BrokerTopics(self)
        self.is_shared = nodes is not None
        self.peers = Peers(self, nodes) if nodes is not None and nodes.has_bus else None
        self.connections: set[MqttConnection] = set()
        self.organizations: dict[str, Organization] = {}
        self.authentications: asyncio.Queue[MqttConnection] = asyncio.Queue()
        self.room = asyncio.Event()
        self.room.set()
        self.strangers = Strangers(
            bytes_max=options.strangers_bytes_max, own_bytes=options.stranger_own_bytes
        )
        self.draining = False
        self._reserved = 0
        self._by_subject: dict[str, set[MqttConnection]] = {}

    def organization(self, organization_id: str) -> Organization:
        """Return an organization's part of the server, made on first use."""
        organization = self.organizations.get(organization_id)
        if organization is None:
            organization = Organization(self, organization_id)
            self.organizations[organization_id] = organization
            if self.peers is not None:
                self.peers.join(organization)
        return organization

    def restore(self, kept: KeptSession) -> None:
        """Take back a session that was saved before the station's last end."""
        self.keeper.position = max(
            self.keeper.position, 0, *(message.position for _, message in kept.messages)
        )
        self.organization(kept.state.organization_id).sessions.restore(kept)

    def reserve(self) -> None:
        """Take one of ``connections_max`` places; ``room`` says whether there is another."""
        self._reserved += 1
        if self._reserved >= self.options.connections_max:
            self.room.clear()

    def release(self) -> None:
        """Give a place back."""
        self._reserved -= 1
        self.room.set()

    def add(self, connection: "MqttConnection") -> None:
        """Know a connection from its first moment; its place was reserved."""
        self.connections.add(connection)
        self.counters.connections += 1
        self.counters.connections_accepted += 1

    def forget(self, connection: "MqttConnection") -> None:
        """A connection is closed on both sides and has nothing left to handle."""
        self.connections.discard(connection)
        self.counters.connections -= 1
        self.release()

    def may_subscribe(self, identity: MqttIdentity, topic_filter: str) -> bool:
        """Whether this identity may hear a filter, shared or not."""
        return self.station.may_subscribe(identity, split_shared(topic_filter)[1])

    def enter(self, connection: "MqttConnection", identity: MqttIdentity, client_id: str) -> bool:
        """Register an authenticated client in place of any other with its id.

        Return whether there was room.
        """
        clients = self.organization(identity.organization_id).clients
        if (other := clients.get(client_id)) is not None:
            self.counters.takeovers += 1
            other.close("another connection took over this client id", code=Reason.TAKEN_OVER)
        elif len(clients) >= self.options.organization_connections_max:
            return False
        clients[client_id] = connection
        for subject in identity.subjects:
            self._by_subject.setdefault(subject, set()).add(connection)
        return True

    def leave(self, connection: "MqttConnection", identity: MqttIdentity, client_id: str) -> None:
        """A client's connection ends; its session stays for as long as it may."""
        organization = self.organization(identity.organization_id)
        del organization.clients[client_id]
        for subject in identity.subjects:
            self._by_subject[subject].discard(connection)
            if not self._by_subject[subject]:
                del self._by_subject[subject]
        organization.sessions.leave(client_id)

    def connections_of(self, subject: str) -> tuple["MqttConnection", ...]:
        """Return the authenticated connections that a revocation of this subject ends."""
        return tuple(self._by_subject.get(subject, ()))

    def sweep(self) -> None:
        """Close what is overdue; called a few times a second."""
        now_s = self.clock.monotonic()
        for connection in tuple(self.connections):
            connection.check(now_s)
        for organization in self.organizations.values():
            organization.sessions.expire(now_s)
            for topic in organization.space.forget_expired(now_s):
                self.keeper.add(topic)
        self.wills.publish_due(now_s)
        self.topics.publish_due(now_s)
        if self.peers is not None:
            self.peers.tell_due(now_s)
