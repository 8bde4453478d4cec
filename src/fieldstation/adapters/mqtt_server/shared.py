"""Shared subscriptions: each message goes to one of a group."""

from typing import Protocol

from fieldstation.adapters.mqtt_server.grants import Match
from fieldstation.adapters.mqtt_server.outbox import Delivery
from fieldstation.adapters.mqtt_server.topics import SHARED


class Offered(Protocol):
    """Takes messages for a listener."""

    @property
    def is_attached(self) -> bool:
        """Whether the listener is connected."""
        ...

    def offer(self, delivery: Delivery) -> None:
        """Send a message, or do what the limits say."""
        ...


class Listener(Protocol):
    """Whoever may subscribe: a session, or the other nodes."""

    @property
    def outbox(self) -> Offered:
        """Where its messages go."""
        ...


class SharedGroup:
    """The members of one group for one filter; takes their turns, absent ones last."""

    def __init__(self) -> None:
        self._members: dict[Listener, Match] = {}

    def __len__(self) -> int:
        return len(self._members)

    def put(self, member: Listener, match: Match) -> bool:
        """Add a member or change what it asked for; return whether it is new."""
        is_new = member not in self._members
        self._members[member] = match
        return is_new

    def drop(self, member: Listener) -> bool:
        """Remove a member; return whether it was one."""
        return self._members.pop(member, None) is not None

    def next(self) -> tuple[Listener, Match] | None:
        """Return whose turn it is: the next one that is connected, else the next; nobody's when
        all have left."""
        connected = (member for member in self._members if member.outbox.is_attached)
        chosen = next(connected, None) or next(iter(self._members), None)
        if chosen is None:
            return None
        match = self._members.pop(chosen)
        self._members[chosen] = match
        return chosen, match


def split_shared(topic_filter: str) -> tuple[str, str]:
    """Return the group and the plain filter; no group for one that is not shared."""
    if not topic_filter.startswith(SHARED):
        return "", topic_filter
    group, _, plain = topic_filter.removeprefix(SHARED).partition("/")
    return group, plain
