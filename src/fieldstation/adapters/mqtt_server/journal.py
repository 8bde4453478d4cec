"""Writes what happens to one persistent session where a restart finds it."""

from collections.abc import Callable

from fieldstation.adapters.mqtt_server import properties as names
from fieldstation.adapters.mqtt_server.fields import encode_size
from fieldstation.adapters.mqtt_server.keeper import Keeper, Then
from fieldstation.adapters.mqtt_server.outbox import Delivery
from fieldstation.domains.messaging.schemas import (
    MessageState,
    QueuedMessage,
    ReceivedState,
    SessionEnded,
    SessionState,
    SubscriptionState,
)


class SessionJournal:
    """Implements ``outbox.Journal`` on the keeper."""

    def __init__(self, keeper: Keeper, organization_id: str, client_id: str) -> None:
        self._keeper = keeper
        self._key = (organization_id, client_id)

    def there(self, owner: str, expiry_s: int) -> None:
        """The client is connected."""
        self._keeper.add(SessionState(*self._key, owner, expiry_s, 0))

    def left(self, owner: str, expiry_s: int, now_us: int) -> None:
        """The client is gone, for now."""
        self._keeper.add(SessionState(*self._key, owner, expiry_s, now_us))

    def ended(self) -> None:
        """The session is over."""
        self._keeper.add(SessionEnded(*self._key))

    def subscribed(self, topic_filter: str, options: int, identifier: int) -> None:
        """A subscription is new or changed."""
        self._keeper.add(SubscriptionState(*self._key, topic_filter, options, identifier))

    def unsubscribed(self, topic_filter: str) -> None:
        """A subscription is gone."""
        self._keeper.add(SubscriptionState(*self._key, topic_filter, None))

    def received(self, packet_id: int, *, held: bool) -> None:
        """A QoS 2 message of the client is safe, or its exchange is over."""
        self._keeper.add(ReceivedState(*self._key, packet_id, held))

    def queued(self, packet_id: int, delivery: Delivery, *, sent: bool) -> None:
        was = delivery.message
        identifiers = b"".join(
            bytes((names.SUBSCRIPTION_IDENTIFIER,)) + encode_size(identifier)
            for identifier in delivery.identifiers
        )
        message = QueuedMessage(
            position=self._keeper.position,
            topic=was.topic,
            payload=was.payload,
            qos=was.qos,
            retain=was.retain,
            properties=delivery.forwarded + identifiers,
            expires_us=delivery.expires_us,
            sent=sent,
        )
        self._keeper.add(MessageState(*self._key, packet_id, message))

    def done(self, packet_id: int) -> None:
        self._keeper.add(MessageState(*self._key, packet_id, None))

    def released(self, packet_id: int, then: Callable[[], None]) -> None:
        message = QueuedMessage(
            position=self._keeper.position,
            topic="",
            payload=b"",
            qos=2,
            retain=False,
            properties=b"",
            expires_us=0,
            sent=True,
            released=True,
        )
        self._keeper.add(MessageState(*self._key, packet_id, message))
        self._keeper.tell(Then(then))
