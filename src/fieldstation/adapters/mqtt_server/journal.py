"""Writes what happens to one persistent session where a restart finds it."""

from collections.abc import Callable
from dataclasses import replace

from fieldstation.adapters.mqtt_server import properties as names
from fieldstation.adapters.mqtt_server.fields import encode_size
from fieldstation.adapters.mqtt_server.keeper import Keeper, Then
from fieldstation.adapters.mqtt_server.outbox import Delivery
from fieldstation.domains.messaging.schemas import (
    MessageSent,
    MessageState,
    QueuedMessage,
    ReceivedState,
    SessionChange,
    SessionCleared,
    SessionEnded,
    SessionState,
    SubscriptionState,
)


class SessionJournal:
    """Implements ``outbox.Journal`` on the keeper; writes nothing more once the session is over."""

    def __init__(
        self, keeper: Keeper, organization_id: str, client_id: str, *, epoch: int, began_us: int
    ) -> None:
        self._keeper = keeper
        self._key = (organization_id, client_id)
        self._state = SessionState(
            organization_id, client_id, "", 0, 0, epoch=epoch, began_us=began_us
        )
        self._is_over = False
        self.is_saved = False
        """Whether the session itself is in the tables."""

    def there(self, owner: str, expiry_s: int) -> None:
        """The client is connected."""
        self._add(replace(self._state, owner=owner, expiry_s=expiry_s))
        self._keeper.tell(Then(self._note_saved))

    def left(self, owner: str, expiry_s: int, now_us: int) -> None:
        """The client is gone, for now."""
        self._add(replace(self._state, owner=owner, expiry_s=expiry_s, left_us=now_us))

    def ended(self, *, has_exchanges: bool = False) -> None:
        """The session is over."""
        began_us = self._state.began_us if has_exchanges else 0
        self._add(SessionEnded(*self._key, epoch=self._state.epoch, began_us=began_us))
        self.close()

    def cleared(self, *, has_exchanges: bool = False) -> None:
        """The session is over, and its client begins a new one."""
        began_us = self._state.began_us if has_exchanges else 0
        self._add(SessionCleared(*self._key, epoch=self._state.epoch, began_us=began_us))
        self.close()

    def close(self) -> None:
        """Write nothing more: another node has the session, or nobody."""
        self._is_over = True

    def subscribed(self, topic_filter: str, options: int, identifier: int) -> None:
        """A subscription is new or changed."""
        self._add(
            SubscriptionState(
                *self._key, topic_filter, options, identifier, epoch=self._state.epoch
            )
        )

    def unsubscribed(self, topic_filter: str) -> None:
        """A subscription is gone."""
        self._add(SubscriptionState(*self._key, topic_filter, None, epoch=self._state.epoch))

    def received(self, packet_id: int, *, held: bool) -> None:
        """A QoS 2 message of the client is safe, or its exchange is over."""
        self._add(ReceivedState(*self._key, packet_id, held, epoch=self._state.epoch))

    def queued(self, packet_id: int, delivery: Delivery, *, sent: bool) -> None:
        was = delivery.message
        identifiers = b"".join(
            bytes((names.SUBSCRIPTION_IDENTIFIER,)) + encode_size(identifier)
            for identifier in delivery.identifiers
        )
        self._put(
            packet_id,
            QueuedMessage(
                position=self._keeper.position,
                topic=was.topic,
                payload=was.payload,
                qos=was.qos,
                retain=was.retain,
                properties=delivery.forwarded + identifiers,
                expires_us=delivery.expires_us,
                sent=sent,
            ),
        )

    def sent(self, packet_id: int) -> None:
        self._add(MessageSent(*self._key, packet_id, epoch=self._state.epoch))

    def done(self, packet_id: int) -> None:
        self._put(packet_id, None)

    def released(self, packet_id: int, then: Callable[[], None]) -> None:
        self._put(
            packet_id,
            QueuedMessage(
                position=self._keeper.position,
                topic="",
                payload=b"",
                qos=2,
                retain=False,
                properties=b"",
                expires_us=0,
                sent=True,
                released=True,
            ),
        )
        self._keeper.tell(Then(then))

    def _put(self, packet_id: int, message: QueuedMessage | None) -> None:
        self._add(MessageState(*self._key, packet_id, message, epoch=self._state.epoch))

    def _add(self, change: SessionChange) -> None:
        if not self._is_over:
            self._keeper.add(change)

    def _note_saved(self) -> None:
        self.is_saved = True
