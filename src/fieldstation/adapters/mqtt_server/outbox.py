"""What is on its way to one subscriber, bounded."""

from collections import deque
from typing import Protocol

from fieldstation.adapters.mqtt_server.codec import encode_publish
from fieldstation.adapters.mqtt_server.options import MqttCounters, OutboxLimits
from fieldstation.adapters.mqtt_server.packets import Publish

PACKET_ID_MAX = 0xFFFF


class Delivery:
    """One message with one QoS for any number of subscribers.

    Encoded once where the bytes are the same.
    """

    __slots__ = ("_frame", "message")

    def __init__(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        self.message = Publish(topic, payload, 0, qos, retain)
        self._frame: bytes | None = None

    def frame(self) -> bytes:
        """Return the bytes of a QoS 0 PUBLISH."""
        if self._frame is None:
            self._frame = encode_publish(self.message)
        return self._frame

    def numbered_frame(self, packet_id: int, *, duplicate: bool = False) -> bytes:
        """Return the bytes of a QoS 1 PUBLISH."""
        was = self.message
        return encode_publish(
            Publish(was.topic, was.payload, packet_id, was.qos, was.retain), duplicate=duplicate
        )

    def __len__(self) -> int:
        return len(self.message.payload) + len(self.message.topic)


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
        """End the connection because its client does not keep up."""
        ...


class Outbox:
    """The messages of one session that its client has not yet got.

    Order: what is sent again after a reconnect, then retained messages of new subscriptions, then
    live ones. ``OutboxLimits`` says what happens when it is full.
    """

    def __init__(self, limits: OutboxLimits, counters: MqttCounters, *, persistent: bool) -> None:
        self._limits = limits
        self._counters = counters
        self._persistent = persistent
        self._link: SubscriberLink | None = None
        self._again: deque[int] = deque()
        self._retained: deque[Delivery] = deque()
        self._queue: deque[Delivery] = deque()
        self._inflight: dict[int, Delivery] = {}
        self._last_packet_id = 0
        self._held_bytes = 0

    @property
    def waiting_messages(self) -> int:
        """How many messages are held, sent without acknowledgement ones included."""
        return len(self._retained) + len(self._queue) + len(self._inflight)

    def attach(self, link: SubscriberLink) -> None:
        """Send to this connection from now on.

        First again what the last one did not acknowledge.
        """
        self._link = link
        self._again = deque(self._inflight)
        self.send_waiting()

    def detach(self) -> None:
        """The client went away: QoS 0 is not kept for it."""
        self._link = None
        self._again.clear()
        self._retained = deque(delivery for delivery in self._retained if delivery.message.qos)
        kept = deque(delivery for delivery in self._queue if delivery.message.qos)
        self._held_bytes -= sum(map(len, self._queue)) - sum(map(len, kept))
        self._queue = kept

    def offer(self, delivery: Delivery) -> None:
        """Send a live message, queue it, or do what the limits say."""
        link = self._link
        if link is None:
            if self._persistent and delivery.message.qos:
                self._keep(delivery)
        elif not self._queue and not self._retained and self._may_send(link, delivery):
            self._send(link, delivery)
        elif self._has_room(delivery):
            self._append(delivery)
        elif delivery.message.qos == 0:
            self._counters.dropped_slow += 1
        else:
            self._counters.slow_closed += 1
            link.close_slow()
            self.offer(delivery)

    def offer_retained(self, deliveries: list[Delivery]) -> bool:
        """Send the retained messages of a new subscription as the client takes them.

        Returns false, and takes none, when too many wait already.
        """
        if len(self._retained) + len(deliveries) > self._limits.retained_backlog_max:
            self._counters.slow_closed += 1
            return False
        self._retained.extend(deliveries)
        self.send_waiting()
        return True

    def acknowledge(self, packet_id: int) -> None:
        """The client has this message; an unknown id is an old one and harmless."""
        delivery = self._inflight.pop(packet_id, None)
        if delivery is not None:
            self._held_bytes -= len(delivery)
            self.send_waiting()

    def send_waiting(self) -> None:
        """Send what the window and the client's speed allow."""
        link = self._link
        if link is None:
            return
        while self._again and link.writable:
            packet_id = self._again.popleft()
            if packet_id in self._inflight:
                link.send(self._inflight[packet_id].numbered_frame(packet_id, duplicate=True))
        while waiting := self._retained or self._queue:
            if self._again or not self._may_send(link, waiting[0]):
                return
            delivery = waiting.popleft()
            if waiting is self._queue:
                self._held_bytes -= len(delivery)
            self._send(link, delivery)

    def _may_send(self, link: SubscriberLink, delivery: Delivery) -> bool:
        has_window = len(self._inflight) < self._limits.inflight_max and not self._again
        return link.writable and (delivery.message.qos == 0 or has_window)

    def _send(self, link: SubscriberLink, delivery: Delivery) -> None:
        self._counters.forwarded += 1
        if delivery.message.qos == 0:
            link.send(delivery.frame())
            return
        packet_id = self._next_packet_id()
        self._inflight[packet_id] = delivery
        self._held_bytes += len(delivery)
        link.send(delivery.numbered_frame(packet_id))

    def _next_packet_id(self) -> int:
        packet_id = self._last_packet_id % PACKET_ID_MAX + 1
        while packet_id in self._inflight:
            packet_id = packet_id % PACKET_ID_MAX + 1
        self._last_packet_id = packet_id
        return packet_id

    def _has_room(self, delivery: Delivery) -> bool:
        if len(self._queue) >= self._limits.queue_messages_max:
            return False
        # One message alone may be larger than the limit: it could never be delivered otherwise.
        return not self._queue or self._held_bytes + len(delivery) <= self._limits.queue_bytes_max

    def _append(self, delivery: Delivery) -> None:
        self._queue.append(delivery)
        self._held_bytes += len(delivery)

    def _keep(self, delivery: Delivery) -> None:
        while not self._has_room(delivery):
            self._held_bytes -= len(self._queue.popleft())
            self._counters.dropped_queued += 1
        self._append(delivery)
