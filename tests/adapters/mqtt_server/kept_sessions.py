"""Sessions as a station keeps them, in memory."""

from typing import TypeVar

from fieldstation.domains.messaging.schemas import (
    Change,
    KeptSession,
    MessageState,
    QueuedMessage,
    ReceivedState,
    SessionEnded,
    SessionState,
    SubscriptionState,
)

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

    def apply(self, change: Change) -> None:
        key = (change.organization_id, getattr(change, "client_id", ""))
        match change:
            case SessionState():
                self.states[key] = change
            case SessionEnded():
                for kept in (self.states, self.subscriptions, self.messages, self.received):
                    kept.pop(key, None)
            case SubscriptionState():
                wanted = change if change.options is not None else None
                put(self.subscriptions.setdefault(key, {}), change.topic_filter, wanted)
            case MessageState():
                put(self.messages.setdefault(key, {}), change.packet_id, change.message)
            case ReceivedState():
                put(self.received.setdefault(key, {}), change.packet_id, change.held or None)

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
            )
            for key, state in self.states.items()
        ]


def put(kept: dict[Name, Kept], name: Name, value: Kept | None) -> None:
    if value is None:
        kept.pop(name, None)
    else:
        kept[name] = value
