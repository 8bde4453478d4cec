"""The topics of one organization: who listens, and what is retained."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from fieldstation.adapters.mqtt_server.dialects import US_PER_S
from fieldstation.adapters.mqtt_server.grants import Grant, Match
from fieldstation.adapters.mqtt_server.options import MqttCounters, SpaceLimits
from fieldstation.adapters.mqtt_server.outbox import Delivery
from fieldstation.adapters.mqtt_server.packets import MessageProperties, Publish
from fieldstation.adapters.mqtt_server.shared import Listener, SharedGroup, split_shared
from fieldstation.adapters.mqtt_server.topics import SHARED, RetainedTree, SubscriptionTree
from fieldstation.core.clock import Clock
from fieldstation.domains.messaging.schemas import Retained

NO_PROPERTIES = MessageProperties()
FORGET_INTERVAL_S = 10.0
Subscriber = Listener | SharedGroup


class TopicSpace:
    """Everything published, retained and subscribed in one organization; nothing of any other."""

    def __init__(self, limits: SpaceLimits, counters: MqttCounters, clock: Clock) -> None:
        self.has_listeners = False
        """Whether anybody subscribed to anything; asked for every message, so no property."""
        self.is_changed = False
        """Whether subscriptions changed since somebody cleared this."""
        self.when_changed: Callable[[], None] | None = None
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
        self._expiring: dict[str, Retained] = {}
        self._forgotten_at_s = 0.0

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
        self.is_changed = True
        if self.when_changed is not None:
            self.when_changed()

    def forward(
        self,
        message: Publish,
        *,
        publisher: Listener | None = None,
        expires_us: int | None = None,
        serves: Callable[[str], bool] | None = None,
    ) -> int:
        """Offer a message to every session that subscribed to its topic.

        Return how many those are. ``serves`` says of a shared filter whether its group gets the
        message here.
        """
        if not self.has_listeners:
            return 0
        matches = self._match(message.topic)
        if not matches:
            return 0
        if expires_us is None:
            expires_us = self.expiry_of(message)
        deliveries = _Deliveries(message, expires_us)
        elsewhere = () if serves is None else self._not_served(serves)
        offered = 0
        for subscriber, match in matches:
            if subscriber in elsewhere:
                continue
            turn = subscriber.next() if isinstance(subscriber, SharedGroup) else (subscriber, match)
            if turn is None:
                continue
            listener, found = turn
            grant = found.own if listener is publisher else found.others
            if grant is not None:
                listener.outbox.offer(deliveries.under(grant))
                offered += 1
        return offered

    def _not_served(self, serves: Callable[[str], bool]) -> list[SharedGroup]:
        return [
            group
            for (name, plain), group in self._groups.items()
            if not serves(f"{SHARED}{name}/{plain}")
        ]

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

    def has_room(self, message: Publish) -> bool:
        """Whether the topic can retain this message."""
        forwarded = (message.properties or NO_PROPERTIES).forwarded
        size = len(message.topic) + len(message.payload) + len(forwarded)
        return not message.payload or self._fits(message.topic, size)

    def retain(self, change: Retained) -> Retained | None:
        """Keep a message for later subscribers in place of the topic's last one.

        Return what is to be saved: the change, with its time, or that the topic retains nothing,
        because there is no room. ``None`` when a later change stands.
        """
        before = self._retained.get(change.topic)
        if not change.at_us:
            at_us = self._clock.now_us()
            change = replace(change, at_us=max(at_us, before.at_us + 1) if before else at_us)
        elif before is not None and before.at_us > change.at_us:
            return None
        if change.payload and not self._fits(change.topic, len(change)):
            self._counters.retained_refused += 1
            change = replace(change, payload=b"", properties=b"")
        self._replace(change.topic, before, change if change.payload else None)
        return change

    def _fits(self, topic: str, size: int) -> bool:
        before = self._retained.get(topic)
        messages = self._retained_messages + (before is None)
        held = self._retained_bytes - (len(before) if before else 0)
        return (
            messages <= self._limits.retained_messages_max
            and held + size <= self._limits.retained_bytes_max
        )

    def _replace(self, topic: str, before: Retained | None, after: Retained | None) -> None:
        for kept, sign in ((before, -1), (after, 1)):
            if kept is not None:
                self._retained_messages += sign
                self._retained_bytes += sign * len(kept)
        self._expiring.pop(topic, None)
        if after is not None and after.expires_us:
            self._expiring[topic] = after
        self._retained.put(topic, after)

    def forget_expired(self, now_s: float) -> list[Retained]:
        """Forget the retained messages whose time is over; return these changes, now and then."""
        if now_s - self._forgotten_at_s < FORGET_INTERVAL_S:
            return []
        self._forgotten_at_s = now_s
        now_us = self._clock.now_us()
        expired = [kept for kept in self._expiring.values() if kept.expires_us <= now_us]
        for kept in expired:
            self._replace(kept.topic, kept, None)
        return [replace(kept, payload=b"") for kept in expired]

    def catch_up(self, messages: Iterable[Retained], *, before_us: int) -> None:
        """Retain what was read from the table, and nothing else that is older than the reading."""
        found = {kept.topic: kept for kept in messages}
        for kept in self._retained.match("#"):
            if kept.topic not in found and kept.at_us < before_us:
                self._replace(kept.topic, kept, None)
        for kept in found.values():
            self.retain(kept)


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
