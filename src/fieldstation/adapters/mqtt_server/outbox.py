"""What is on its way to one subscriber, bounded."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from fieldstation.adapters.mqtt_server.codec import encode_publish
from fieldstation.adapters.mqtt_server.dialects import MQTT_311, PUBREL, Dialect
from fieldstation.adapters.mqtt_server.options import MqttCounters, OutboxLimits, Traffic
from fieldstation.adapters.mqtt_server.packets import Publish

PACKET_ID_MAX = 0xFFFF


class Delivery:
    """One message with one QoS for any number of subscribers.

    Encoded once where the bytes are the same. ``expires_us`` 0 means never.
    """

    __slots__ = ("_frame", "expires_us", "forwarded", "identifiers", "message")

    def __init__(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool = False,
        forwarded: bytes = b"",
        identifiers: tuple[int, ...] = (),
        expires_us: int = 0,
    ) -> None:
        self.message = Publish(topic, payload, 0, qos, retain)
        self.forwarded = forwarded
        self.identifiers = identifiers
        self.expires_us = expires_us
        self._frame: bytes | None = None

    def frame(self) -> bytes:
        """Return the bytes of a QoS 0 PUBLISH of MQTT 3.1.1."""
        if self._frame is None:
            self._frame = encode_publish(self.message)
        return self._frame

    def __len__(self) -> int:
        return len(self.message.payload) + len(self.message.topic) + len(self.forwarded)


class SubscriberLink(Protocol):
    """The connection of a subscriber, as its outbox sees it."""

    @property
    def writable(self) -> bool:
        """Whether the client keeps up with what was written."""
        ...

    def send(self, frame: bytes) -> None:
        """Write a packet."""
        ...

    def close_slow(self) -> None:
        """End the connection because its client does not keep up; never at once."""
        ...


class Journal(Protocol):
    """Keeps a persistent session's messages where they survive a restart."""

    def queued(self, packet_id: int, delivery: Delivery, *, sent: bool) -> None:
        """This message waits for the client."""
        ...

    def sent(self, packet_id: int) -> None:
        """This message, queued before as not sent, has been sent."""
        ...

    def done(self, packet_id: int) -> None:
        """The client has it, or it was dropped."""
        ...

    def released(self, packet_id: int, then: Callable[[], None]) -> None:
        """The client has a QoS 2 message; ``then`` once that is saved."""
        ...


class Outbox:
    """The messages of one session that its client has not yet got.

    Order: what is sent again after a reconnect, then retained messages of new subscriptions, then
    live ones. ``OutboxLimits`` says what happens when it is full. A message has its packet id from
    the moment it is queued; in flight, ``None`` in its place means that only PUBCOMP is missing.
    """

    def __init__(
        self,
        limits: OutboxLimits,
        counters: MqttCounters,
        *,
        persistent: bool,
        now_us: Callable[[], int],
        journal: Journal | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._persistent = persistent
        self._now_us = now_us
        self._journal = journal
        self._traffic = traffic or Traffic()
        self._link: SubscriberLink | None = None
        self._dialect: Dialect = MQTT_311
        self._window = limits.inflight_max
        self._again: dict[int, None] = {}
        self._retained: deque[tuple[int, Delivery]] = deque()
        self._queue: deque[tuple[int, Delivery]] = deque()
        self._queued_ids: set[int] = set()
        self._inflight: dict[int, Delivery | None] = {}
        self._saved_unsent: set[int] = set()
        self._last_packet_id = 0
        self._held_bytes = 0

    @property
    def waiting_messages(self) -> int:
        """How many messages are held, sent without acknowledgement ones included."""
        return len(self._retained) + len(self._queue) + len(self._inflight)

    @property
    def is_attached(self) -> bool:
        """Whether the client is connected."""
        return self._link is not None

    def attach(self, link: SubscriberLink, dialect: Dialect = MQTT_311) -> None:
        """Send to this connection from now on.

        First again what the last one did not acknowledge.
        """
        self._link = link
        self._dialect = dialect
        self._window = min(self._limits.inflight_max, dialect.receive_maximum)
        self._again = dict.fromkeys(self._inflight)
        self.send_waiting()

    def detach(self) -> None:
        """The client went away: QoS 0 is not kept for it."""
        self._link = None
        self._again.clear()
        self._save_sent()
        self._retained = deque(entry for entry in self._retained if entry[0])
        kept = deque(entry for entry in self._queue if entry[0])
        dropped = sum(len(delivery) for packet_id, delivery in self._queue if not packet_id)
        self._held_bytes -= dropped
        self._queue = kept

    def _save_sent(self) -> None:
        """Note what was queued while the client was away and has been sent to it since."""
        if self._journal is None:
            return
        sent = self._saved_unsent & self._inflight.keys()
        self._saved_unsent -= sent
        for packet_id in sent:
            self._journal.sent(packet_id)

    def restore(self, packet_id: int, delivery: Delivery, *, sent: bool, released: bool) -> None:
        """Take back a message that was saved; called in order, before any client is there."""
        if sent or released:
            self._inflight[packet_id] = None if released else delivery
        else:
            self._queued_ids.add(packet_id)
            self._saved_unsent.add(packet_id)
            self._queue.append((packet_id, delivery))
        self._held_bytes += 0 if released else len(delivery)
        self._last_packet_id = packet_id

    def offer(self, delivery: Delivery) -> None:
        """Send a live message, queue it, or do what the limits say."""
        link = self._link
        if link is None:
            if self._persistent and delivery.message.qos:
                self._keep(delivery)
        elif not self._queue and not self._retained and self._may_send(link, delivery):
            self._send(link, self._numbered(delivery), delivery)
        elif self._has_room(delivery):
            self._append(delivery)
        elif delivery.message.qos == 0:
            self._counters.dropped_slow += 1
        else:
            self._counters.slow_closed += 1
            self.detach()
            link.close_slow()
            self.offer(delivery)

    def offer_retained(self, deliveries: list[Delivery]) -> bool:
        """Send the retained messages of a new subscription as the client takes them.

        Returns false, and takes none, when too many wait already.
        """
        if len(self._retained) + len(deliveries) > self._limits.retained_backlog_max:
            self._counters.slow_closed += 1
            return False
        for delivery in deliveries:
            packet_id = self._numbered(delivery)
            self._retained.append((packet_id, delivery))
            if packet_id:
                self._queued_ids.add(packet_id)
        self.send_waiting()
        return True

    def acknowledge(self, packet_id: int) -> None:
        """The client has this message; an unknown id is an old one and harmless."""
        if packet_id not in self._inflight:
            return
        self._forget(packet_id)
        self.send_waiting()

    def received(self, packet_id: int) -> bool:
        """The client has this QoS 2 message; answer PUBREL. Return whether the id was known."""
        if packet_id not in self._inflight:
            return False
        delivery = self._inflight[packet_id]
        self._inflight[packet_id] = None
        self._again.pop(packet_id, None)
        if delivery is not None:
            self._held_bytes -= len(delivery)
        if self._journal is None:
            self._release(packet_id)
        else:
            self._journal.released(packet_id, lambda: self._release(packet_id))
        return True

    def _release(self, packet_id: int) -> None:
        if self._link is not None and packet_id in self._inflight:
            self._link.send(self._dialect.answer(PUBREL, packet_id))

    def send_waiting(self) -> None:
        """Send what the window and the client's speed allow."""
        link = self._link
        if link is None:
            return
        while self._again and link.writable and self._has_window():
            packet_id = next(iter(self._again))
            del self._again[packet_id]
            self._send_again(link, packet_id)
        while waiting := self._retained or self._queue:
            packet_id, delivery = waiting[0]
            if self._again or not self._may_send(link, delivery):
                return
            waiting.popleft()
            self._queued_ids.discard(packet_id)
            if waiting is self._queue:
                self._held_bytes -= len(delivery)
            self._send(link, packet_id, delivery)

    def _send_again(self, link: SubscriberLink, packet_id: int) -> None:
        delivery = self._inflight[packet_id]
        if delivery is None:
            self._release(packet_id)
        elif frame := self._dialect.publish(delivery, packet_id, duplicate=True):
            link.send(frame)
        else:
            self._forget(packet_id)

    def _has_window(self) -> bool:
        return len(self._inflight) - len(self._again) < self._window

    def _may_send(self, link: SubscriberLink, delivery: Delivery) -> bool:
        has_window = len(self._inflight) < self._window and not self._again
        return link.writable and (delivery.message.qos == 0 or has_window)

    def _send(self, link: SubscriberLink, packet_id: int, delivery: Delivery) -> None:
        expired = delivery.expires_us and delivery.expires_us <= self._now_us()
        frame = None if expired else self._dialect.publish(delivery, packet_id)
        if frame is None:
            self._counters.dropped_expired += bool(expired)
            self._counters.dropped_large += not expired
            self._finish(packet_id)
            return
        self._counters.forwarded += 1
        self._traffic.sent += 1
        if packet_id:
            self._inflight[packet_id] = delivery
            self._held_bytes += len(delivery)
        link.send(frame)

    def _forget(self, packet_id: int) -> None:
        delivery = self._inflight.pop(packet_id)
        self._again.pop(packet_id, None)
        if delivery is not None:
            self._held_bytes -= len(delivery)
        self._finish(packet_id)

    def _finish(self, packet_id: int) -> None:
        if packet_id and self._journal is not None:
            self._saved_unsent.discard(packet_id)
            self._journal.done(packet_id)

    def _numbered(self, delivery: Delivery) -> int:
        """Give a message its packet id, and have it saved if the session is."""
        if not delivery.message.qos:
            return 0
        packet_id = self._last_packet_id % PACKET_ID_MAX + 1
        while packet_id in self._inflight or packet_id in self._queued_ids:
            packet_id = packet_id % PACKET_ID_MAX + 1
        self._last_packet_id = packet_id
        if self._journal is not None:
            is_there = self._link is not None
            self._journal.queued(packet_id, delivery, sent=is_there)
            if not is_there:
                self._saved_unsent.add(packet_id)
        return packet_id

    def _has_room(self, delivery: Delivery) -> bool:
        if len(self._queue) >= self._limits.queue_messages_max:
            return False
        # One message alone may be larger than the limit: it could never be delivered otherwise.
        return not self._queue or self._held_bytes + len(delivery) <= self._limits.queue_bytes_max

    def _append(self, delivery: Delivery) -> None:
        packet_id = self._numbered(delivery)
        self._queue.append((packet_id, delivery))
        if packet_id:
            self._queued_ids.add(packet_id)
        self._held_bytes += len(delivery)

    def _keep(self, delivery: Delivery) -> None:
        while not self._has_room(delivery):
            packet_id, dropped = self._queue.popleft()
            self._held_bytes -= len(dropped)
            self._queued_ids.discard(packet_id)
            self._finish(packet_id)
            self._counters.dropped_queued += 1
        self._append(delivery)
