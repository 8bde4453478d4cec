"""The topics of one organization: who listens, and what is retained."""

from collections.abc import Iterable

from fieldstation.adapters.mqtt_server.dialects import US_PER_S
from fieldstation.adapters.mqtt_server.grants import Grant, Match
from fieldstation.adapters.mqtt_server.options import MqttCounters, SpaceLimits
from fieldstation.adapters.mqtt_server.outbox import Delivery
from fieldstation.adapters.mqtt_server.packets import MessageProperties, Publish
from fieldstation.adapters.mqtt_server.shared import Listener, SharedGroup, split_shared
from fieldstation.adapters.mqtt_server.topics import RetainedTree, SubscriptionTree
from fieldstation.core.clock import Clock
from fieldstation.domains.messaging.schemas import Retained

NO_PROPERTIES = MessageProperties()
Subscriber = Listener | SharedGroup


class TopicSpace:
    """Everything published, retained and subscribed in one organization; nothing of any other."""

    def __init__(self, limits: SpaceLimits, counters: MqttCounters, clock: Clock) -> None:
        self.has_listeners = False
        """Whether anybody subscribed to anything; asked for every message, so no property."""
        self._limits = limits
        self._counters = counters
        self._clock = clock
        self._subscriptions: SubscriptionTree[Subscriber, Match] = SubscriptionTree(
            Match.with_other
        )
        self._groups: dict[tuple[str, str], SharedGroup] = {}
        self._matches: dict[str, tuple[tuple[Subscriber, Match], ...]] = {}
        self._retained: RetainedTree[Retained] = RetainedTree()
        self._retained_messages = 0
        self._retained_bytes = 0

    def subscribe(self, listener: Listener, topic_filter: str, match: Match) -> None:
        """Add a subscription or change it."""
        name, plain = split_shared(topic_filter)
        if name:
            group = self._groups.setdefault((name, plain), SharedGroup())
            group.put(listener, match)
            self._subscriptions.add(group, plain, match)
        else:
            self._subscriptions.add(listener, plain, match)
        self._changed()

    def unsubscribe(self, listener: Listener, topic_filters: Iterable[str]) -> None:
        """Remove subscriptions, existing or not."""
        for topic_filter in topic_filters:
            name, plain = split_shared(topic_filter)
            if name:
                self._leave_group(listener, name, plain)
            else:
                self._subscriptions.remove(listener, plain)
        self._changed()

    def _leave_group(self, listener: Listener, name: str, plain: str) -> None:
        group = self._groups.get((name, plain))
        if group is not None and group.drop(listener) and not group:
            del self._groups[name, plain]
            self._subscriptions.remove(group, plain)

    def _changed(self) -> None:
        self._matches.clear()
        self.has_listeners = len(self._subscriptions) > 0

    def forward(self, message: Publish, *, publisher: Listener | None = None) -> int:
        """Offer a message to every session that subscribed to its topic.

        Return how many those are.
        """
        if not self.has_listeners:
            return 0
        matches = self._match(message.topic)
        if not matches:
            return 0
        deliveries = _Deliveries(message, self.expiry_of(message))
        offered = 0
        for subscriber, match in matches:
            turn = subscriber.next() if isinstance(subscriber, SharedGroup) else (subscriber, match)
            if turn is None:
                continue
            listener, found = turn
            grant = found.own if listener is publisher else found.others
            if grant is not None:
                listener.outbox.offer(deliveries.under(grant))
                offered += 1
        return offered

    def expiry_of(self, message: Publish) -> int:
        """Return when a message that comes now expires, in microseconds; 0 for never."""
        expiry_s = message.properties.expiry_s if message.properties else None
        return 0 if expiry_s is None else self._clock.now_us() + expiry_s * US_PER_S

    def _match(self, topic: str) -> tuple[tuple[Subscriber, Match], ...]:
        matches = self._matches.get(topic)
        if matches is None:
            if len(self._matches) >= self._limits.match_cache_entries_max:
                self._matches.clear()
            matches = self._matches[topic] = tuple(self._subscriptions.match(topic).items())
        return matches

    def retained(self, topic_filter: str, grant: Grant) -> list[Delivery]:
        """Return what the topics that match a filter retain, as a subscriber gets it."""
        now_us = self._clock.now_us()
        return [
            Delivery(
                kept.topic,
                kept.payload,
                qos=min(kept.qos, grant.qos),
                retain=True,
                forwarded=kept.properties,
                identifiers=grant.identifiers,
                expires_us=kept.expires_us,
            )
            for kept in self._retained.match(topic_filter)
            if not kept.expires_us or kept.expires_us > now_us
        ]

    def retain(self, change: Retained) -> bool:
        """Keep a message for later subscribers in place of the topic's last one.

        Return whether there was room.
        """
        before = self._retained.get(change.topic)
        messages = self._retained_messages
        size = self._retained_bytes
        if before is not None:
            messages -= 1
            size -= len(before.payload)
        if change.payload:
            messages += 1
            size += len(change.payload)
            too_many = messages > self._limits.retained_messages_max
            if too_many or size > self._limits.retained_bytes_max:
                self._counters.retained_refused += 1
                return False
        self._retained.put(change.topic, change if change.payload else None)
        self._retained_messages, self._retained_bytes = messages, size
        return True


class _Deliveries:
    """The deliveries of one message: one for all subscribers that get the same."""

    def __init__(self, message: Publish, expires_us: int) -> None:
        self._message = message
        self._forwarded = (message.properties or NO_PROPERTIES).forwarded
        self._expires_us = expires_us
        self._made: dict[tuple[int, bool, tuple[int, ...]], Delivery] = {}

    def under(self, grant: Grant) -> Delivery:
        message = self._message
        retain = message.retain and grant.as_published
        key = (min(message.qos, grant.qos), retain, grant.identifiers)
        delivery = self._made.get(key)
        if delivery is None:
            delivery = self._made[key] = Delivery(
                message.topic,
                message.payload,
                qos=key[0],
                retain=retain,
                forwarded=self._forwarded,
                identifiers=grant.identifiers,
                expires_us=self._expires_us,
            )
        return delivery
