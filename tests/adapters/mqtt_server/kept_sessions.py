"""Sessions as a station keeps them, in memory."""

from dataclasses import replace
from typing import TypeVar

from fieldstation.domains.messaging.schemas import (
    Change,
    KeptSession,
    MessageSent,
    MessageState,
    QueuedMessage,
    ReceivedState,
    SessionCleared,
    SessionEnded,
    SessionState,
    SubscriptionState,
)
from fieldstation.domains.telemetry.exchanges import Exchange

Key = tuple[str, str]
Name = TypeVar("Name")
Kept = TypeVar("Kept")


class KeptSessions:
    """What was saved and not deleted again."""

    def __init__(self) -> None:
        self.states: dict[Key, SessionState] = {}
        self.subscriptions: dict[Key, dict[str, SubscriptionState]] = {}
        self.messages: dict[Key, dict[int, QueuedMessage]] = {}
        self.received: dict[Key, dict[int, bool]] = {}
        self.exchanges: set[Exchange] = set()

    def apply(self, change: Change) -> None:
        key = (change.organization_id, getattr(change, "client_id", ""))
        match change:
            case SessionState():
                self.states[key] = change
            case SessionEnded() | SessionCleared():
                self._end(key, change)
            case SubscriptionState():
                wanted = change if change.options is not None else None
                put(self.subscriptions.setdefault(key, {}), change.topic_filter, wanted)
            case MessageState():
                put(self.messages.setdefault(key, {}), change.packet_id, change.message)
            case MessageSent():
                self._mark_sent(key, change.packet_id)
            case ReceivedState():
                put(self.received.setdefault(key, {}), change.packet_id, change.held or None)

    def _end(self, key: Key, change: SessionEnded | SessionCleared) -> None:
        if isinstance(change, SessionEnded):
            self.states.pop(key, None)
        for kept in (self.subscriptions, self.messages, self.received):
            kept.pop(key, None)

    def _mark_sent(self, key: Key, packet_id: int) -> None:
        messages = self.messages.get(key, {})
        if packet_id in messages:
            messages[packet_id] = replace(messages[packet_id], sent=True)

    def load(self) -> list[KeptSession]:
        return [
            KeptSession(
                state,
                tuple(self.subscriptions.get(key, {}).values()),
                tuple(
                    sorted(
                        self.messages.get(key, {}).items(),
                        key=lambda item: (not item[1].released, item[1].position),
                    )
                ),
                tuple(self.received.get(key, ())),
                tuple(
                    each.packet_id for each in self.exchanges if each[:3] == (*key, state.began_us)
                ),
            )
            for key, state in self.states.items()
        ]


def put(kept: dict[Name, Kept], name: Name, value: Kept | None) -> None:
    if value is None:
        kept.pop(name, None)
    else:
        kept[name] = value
