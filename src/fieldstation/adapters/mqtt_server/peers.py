"""Messages from and for clients of other nodes, through the bus: at most once, and never back."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from fieldstation.adapters.mqtt_server.broker_topics import PREFIX
from fieldstation.adapters.mqtt_server.grants import Grant, Match
from fieldstation.adapters.mqtt_server.outbox import Delivery
from fieldstation.adapters.mqtt_server.packets import MessageProperties, Publish
from fieldstation.adapters.mqtt_server.ports import MqttNodes
from fieldstation.adapters.mqtt_server.shared import split_shared
from fieldstation.core.errors import Busy
from fieldstation.domains.messaging.events import MessagePublished, TopicsHeard
from fieldstation.domains.messaging.schemas import Retained

if TYPE_CHECKING:
    from fieldstation.adapters.mqtt_server.broker import Broker, Organization

log = structlog.get_logger(__name__)

FILTERS_MAX = 500
"""Of one organization at one node; with more it hears everything."""
MESSAGE_BYTES_MAX = 256 << 10
TELL_INTERVAL_S = 0.25
TELL_AGAIN_S = 10.0
SILENCE_S_MAX = 30.0
LOOK_INTERVAL_S = 0.5
EVERYTHING = Match(Grant(qos=2, as_published=True), None)


class Others:
    """The other nodes as one subscriber of an organization: whatever it is offered, they get.

    What they sent is published as theirs, and so never offered back.
    """

    is_attached = True

    def __init__(self, peers: "Peers", organization: "Organization") -> None:
        self.told: frozenset[str] = frozenset()
        self.told_at_s = float("-inf")
        self.heard: dict[str, frozenset[str]] = {}
        """What each node's clients subscribed to."""
        self.outbox = self
        self._peers = peers
        self._organization = organization

    def offer(self, delivery: Delivery) -> None:
        """Send a message to the other nodes."""
        was = delivery.message
        self._peers.send(
            MessagePublished(
                node_id=self._peers.node_id,
                organization_id=self._organization.id,
                topic=was.topic,
                payload=was.payload,
                qos=was.qos,
                retain=was.retain,
                properties=delivery.forwarded,
                expires_us=delivery.expires_us,
            )
        )

    def hear(self, node_id: str, filters: frozenset[str]) -> None:
        """A node's clients want this, and nothing else any more."""
        before = self._wanted()
        self.heard[node_id] = filters
        if not filters:
            del self.heard[node_id]
        wanted = self._wanted()
        self._organization.space.unsubscribe(self, before - wanted)
        for topic_filter in wanted - before:
            self._organization.space.subscribe(self, topic_filter, EVERYTHING)

    def _wanted(self) -> set[str]:
        return {split_shared(each)[1] for filters in self.heard.values() for each in filters}

    def serves(self, shared_filter: str, publisher: str) -> bool:
        """Whether this node serves a shared group with what another node's client published."""
        holders = {node for node, filters in self.heard.items() if shared_filter in filters}
        return publisher not in holders and self._peers.node_id <= min(
            holders, default=self._peers.node_id
        )


class Peers:
    """Tells the other nodes what this one's clients listen to, and takes what they send."""

    def __init__(self, broker: "Broker", nodes: MqttNodes) -> None:
        self.node_id = nodes.node_id
        self._broker = broker
        self._nodes = nodes
        self._others: dict[str, Others] = {}
        self._seen_at_s: dict[str, float] = {}
        self._hello_at_s = float("-inf")
        broker.keeper.when_retained = self._tell_retained
        nodes.listen(self._hear_topics, self._hear_message)

    def join(self, organization: "Organization") -> None:
        """Connect a new organization's topics with the other nodes."""
        others = self._others[organization.id] = Others(self, organization)
        organization.space.when_changed = lambda: self._tell(organization, others)

    def send(self, message: MessagePublished) -> None:
        """Send a message, unless it is too large."""
        if len(message.payload) + len(message.properties) > MESSAGE_BYTES_MAX:
            self._broker.counters.too_large_for_nodes += 1
            return
        self._broker.counters.forwarded_to_nodes += 1
        self._nodes.publish(message)

    def tell_due(self, now_s: float) -> None:
        """Tell what changed, all of it now and then, and forget nodes that are silent."""
        again = now_s - self._hello_at_s >= TELL_AGAIN_S
        if again:
            self._hello_at_s = now_s
            self._nodes.publish(TopicsHeard(node_id=self.node_id, organization_id=""))
        for organization in self._broker.organizations.values():
            self._tell(organization, self._others[organization.id], again=again)
        for node_id, seen_at_s in tuple(self._seen_at_s.items()):
            if now_s - seen_at_s > SILENCE_S_MAX:
                del self._seen_at_s[node_id]
                for others in self._others.values():
                    others.hear(node_id, frozenset())

    def _tell(self, organization: "Organization", others: Others, *, again: bool = False) -> None:
        now_s = self._broker.clock.monotonic()
        if not again and (
            not organization.space.is_changed or now_s - others.told_at_s < TELL_INTERVAL_S
        ):
            return
        organization.space.is_changed = False
        filters = bounded(organization.sessions.filters())
        if filters != others.told or (again and filters):
            others.told, others.told_at_s = filters, now_s
            self._nodes.publish(
                TopicsHeard(
                    node_id=self.node_id,
                    organization_id=organization.id,
                    filters=tuple(filters),
                )
            )

    def _hear_topics(self, event: TopicsHeard) -> None:
        if event.node_id == self.node_id:
            return
        if event.node_id not in self._seen_at_s:
            self._hello_at_s = float("-inf")  # a new node has not heard of this one
        self._seen_at_s[event.node_id] = self._broker.clock.monotonic()
        if event.organization_id:
            self._broker.organization(event.organization_id)
            self._others[event.organization_id].hear(event.node_id, frozenset(event.filters))

    def _hear_message(self, event: MessagePublished) -> None:
        if event.node_id == self.node_id:
            return
        organization = self._broker.organization(event.organization_id)
        if event.retained:
            organization.space.retain(
                Retained(
                    event.organization_id,
                    event.topic,
                    event.payload,
                    event.qos,
                    event.properties,
                    event.expires_us,
                    event.at_us,
                )
            )
            return
        others = self._others[event.organization_id]
        organization.space.forward(
            Publish(
                event.topic,
                event.payload,
                0,
                event.qos,
                event.retain,
                MessageProperties(forwarded=event.properties),
            ),
            publisher=others,
            expires_us=event.expires_us,
            serves=lambda shared_filter: others.serves(shared_filter, event.node_id),
        )

    def _tell_retained(self, change: Retained) -> None:
        self.send(
            MessagePublished(
                node_id=self.node_id,
                organization_id=change.organization_id,
                topic=change.topic,
                payload=change.payload,
                qos=change.qos,
                retained=True,
                properties=change.properties,
                expires_us=change.expires_us,
                at_us=change.at_us,
            )
        )

    async def catch_up_forever(self) -> None:
        """Read all retained messages again whenever the bus is back: changes were missed."""
        known: int | None = None
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            connection = self._nodes.connection
            if connection in {None, known}:
                continue
            self._hello_at_s = float("-inf")
            try:
                await self._read_retained()
            except Busy as error:
                log.warning("mqtt_retained_not_read", reason=error.detail)
            else:
                known = connection

    async def _read_retained(self) -> None:
        begun_us = self._broker.clock.now_us()
        await self._broker.keeper.flushed()
        kept: dict[str, list[Retained]] = {name: [] for name in self._broker.organizations}
        for each in await self._broker.station.load_retained():
            kept.setdefault(each.organization_id, []).append(each)
        for organization_id, messages in kept.items():
            self._broker.organization(organization_id).space.catch_up(messages, before_us=begun_us)


def bounded(filters: Iterable[str]) -> frozenset[str]:
    """Return the filters, or everything when they are too many; shared ones keep their groups.

    What a broker says of itself is each node's own.
    """
    found = frozenset(each for each in filters if not each.startswith(PREFIX))
    if len(found) <= FILTERS_MAX:
        return found
    shared = sorted(each for each in found if split_shared(each)[0])
    return frozenset(["#", *shared[:FILTERS_MAX]])
