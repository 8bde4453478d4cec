"""The topics of one organization: who listens, and what is retained."""

from collections.abc import Iterable
from typing import Protocol

from fieldstation.adapters.mqtt_server.options import MqttCounters, SpaceLimits
from fieldstation.adapters.mqtt_server.outbox import Delivery, Outbox
from fieldstation.adapters.mqtt_server.ports import RetainedMessage
from fieldstation.adapters.mqtt_server.topics import RetainedTree, SubscriptionTree


class Listener(Protocol):
    """Whoever may subscribe: a session."""

    @property
    def outbox(self) -> Outbox:
        """Where its messages go."""
        ...


class TopicSpace:
    """Everything published, retained and subscribed in one organization; nothing of any other."""

    def __init__(self, limits: SpaceLimits, counters: MqttCounters) -> None:
        self.has_listeners = False
        """Whether anybody subscribed to anything; asked for every message, so no property."""
        self._limits = limits
        self._counters = counters
        self._subscriptions: SubscriptionTree[Listener] = SubscriptionTree()
        self._matches: dict[str, tuple[tuple[Listener, int], ...]] = {}
        self._retained: RetainedTree[RetainedMessage] = RetainedTree()
        self._retained_messages = 0
        self._retained_bytes = 0

    def subscribe(self, listener: Listener, topic_filter: str, qos: int) -> None:
        """Add a subscription or change its QoS."""
        self._subscriptions.add(listener, topic_filter, qos)
        self._changed()

    def unsubscribe(self, listener: Listener, topic_filters: Iterable[str]) -> None:
        """Remove subscriptions, existing or not."""
        for topic_filter in topic_filters:
            self._subscriptions.remove(listener, topic_filter)
        self._changed()

    def _changed(self) -> None:
        self._matches.clear()
        self.has_listeners = len(self._subscriptions) > 0

    def forward(self, topic: str, payload: bytes, *, qos: int) -> int:
        """Offer a message to every session that subscribed to its topic.

        Return how many those are.
        """
        if not self.has_listeners:
            return 0
        matches = self._match(topic)
        plain = Delivery(topic, payload, qos=0)
        certain = Delivery(topic, payload, qos=1) if qos else plain
        for listener, granted in matches:
            listener.outbox.offer(certain if granted else plain)
        return len(matches)

    def _match(self, topic: str) -> tuple[tuple[Listener, int], ...]:
        matches = self._matches.get(topic)
        if matches is None:
            if len(self._matches) >= self._limits.match_cache_entries_max:
                self._matches.clear()
            matches = self._matches[topic] = tuple(self._subscriptions.match(topic).items())
        return matches

    def retained(self, topic_filter: str, *, qos: int) -> list[Delivery]:
        """Return what the topics that match a filter retain, as a subscriber gets it."""
        return [
            Delivery(kept.topic, kept.payload, qos=min(kept.qos, qos), retain=True)
            for kept in self._retained.match(topic_filter)
        ]

    def retain(self, change: RetainedMessage) -> bool:
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
