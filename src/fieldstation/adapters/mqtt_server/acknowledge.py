"""The order of acknowledgements: as messages arrived, and none before it is safe."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from fieldstation.adapters.mqtt_server.dialects import token_of
from fieldstation.adapters.mqtt_server.keeper import Keeper
from fieldstation.adapters.mqtt_server.packets import SUBSCRIPTION_REFUSED, Publish
from fieldstation.adapters.mqtt_server.sessions import Session
from fieldstation.adapters.mqtt_server.space import NO_PROPERTIES, TopicSpace
from fieldstation.domains.messaging.schemas import Retained

ENTRY_BYTES = 256
"""What a message takes beside its payload, about."""


class _Entry(NamedTuple):
    """A message that is more than its packet id."""

    message: Publish
    code: int
    settles: bool
    delivers: bool


class Acknowledger:
    """The receipt of one connection; lives on after it until everything that it took is settled.

    A message goes through two lines: until the station settled it (then it is forwarded and
    retained), and, behind one that must be kept, until that is saved. A message that nobody listens
    to is only its token (see ``token_of``).
    """

    def __init__(
        self,
        organization_id: str,
        space: TopicSpace,
        keeper: Keeper,
        *,
        session: Session | None = None,
        acknowledge: Callable[[list[int]], None],
        abandon: Callable[[list[int]], None],
    ) -> None:
        self._organization_id = organization_id
        self._space = space
        self._keeper = keeper
        self._session = session
        self._acknowledge = acknowledge
        self._abandon = abandon
        self._unsettled: deque[int | _Entry] = deque()
        self._unsaved: deque[tuple[int, bool]] = deque()
        self._behind_bytes = 0
        self._blocked: list[Callable[[], None]] = []
        self.taken_plain = self._unsettled.append
        """As ``taken``, with the packet id of a message below QoS 2 that nobody listens to."""

    def __len__(self) -> int:
        """Count the messages not yet acknowledged."""
        return len(self._unsettled) + len(self._unsaved)

    def taken(self, message: Publish) -> None:
        """The station took this message and will settle it."""
        if message.retain or self._space.has_listeners or message.qos == 2:
            self._unsettled.append(_Entry(message, 0, settles=True, delivers=True))
        else:
            self._unsettled.append(message.packet_id)

    def withheld(self, message: Publish, code: int = 0) -> None:
        """The station keeps this message as refused and will settle it; nobody else gets it."""
        self._unsettled.append(_Entry(message, code, settles=True, delivers=False))

    def is_crowded(self, bytes_max: int) -> bool:
        """Whether too much waits behind something unsettled that needs no settling itself."""
        return self._behind_bytes >= bytes_max

    def when_ready(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, when something was settled."""
        self._blocked.append(wake)

    def passed(self, message: Publish) -> None:
        """The station does not need this message."""
        self._without_settling(_Entry(message, 0, settles=False, delivers=True))

    def refused(self, message: Publish, code: int) -> None:
        """Nobody gets this message; its client is told why."""
        self._without_settling(_Entry(message, code, settles=False, delivers=False))

    def _without_settling(self, entry: _Entry) -> None:
        if self._unsettled:
            self._unsettled.append(entry)
            self._behind_bytes += size_of(entry)
        else:
            self._release([entry])

    def settle(self, count: int) -> None:
        """The oldest ``count`` taken messages are safe; see ``ports.Receipt``."""
        self._release(self._take(count))
        self._wake()

    def fail(self, count: int) -> None:
        """The oldest ``count`` were not stored; those behind them are settled as they come.

        See ``ports.Receipt``.
        """
        lost = [
            entry.message.packet_id
            for entry in self._take(count)
            if not isinstance(entry, int) and entry.message.qos == 2
        ]
        self._abandon(lost)
        self._wake()

    def _take(self, count: int) -> list[int | _Entry]:
        """Take the oldest ``count`` that are settled, and what stands before the next one."""
        unsettled = self._unsettled
        taken: list[int | _Entry] = []
        while unsettled:
            entry = unsettled[0]
            if isinstance(entry, int) or entry.settles:
                if not count:
                    break
                count -= 1
            else:
                self._behind_bytes -= size_of(entry)
            taken.append(entry)
            unsettled.popleft()
        if count:
            raise ValueError(f"{count} more messages were settled than taken")
        return taken

    def _wake(self) -> None:
        blocked = self._blocked
        self._blocked = []
        for wake in blocked:
            wake()

    def saved(self, count: int) -> None:
        """The oldest ``count`` messages that waited for it are saved."""
        tokens: list[int] = []
        while self._unsaved:
            token, waits = self._unsaved[0]
            if waits:
                if not count:
                    break
                count -= 1
            self._unsaved.popleft()
            if token:
                tokens.append(token)
        self._acknowledge(tokens)

    def _release(self, released: list[int | _Entry]) -> None:
        tokens: list[int] = []
        for entry in released:
            if isinstance(entry, int):
                token, waits = entry, False
            else:
                token, waits = token_of(entry.message, entry.code), self._deliver(entry)
            if waits or self._unsaved:
                self._unsaved.append((token, waits))
            elif token:
                tokens.append(token)
        self._acknowledge(tokens)

    def _deliver(self, entry: _Entry) -> bool:
        """Forward and keep a message.

        Return whether its acknowledgement waits until that is saved.
        """
        message = entry.message
        before = self._keeper.position
        if entry.delivers:
            self._space.forward(message, publisher=self._session)
            if message.retain:
                self._retain(message)
        journal = self._session.journal if self._session else None
        if message.qos == 2 and journal is not None and entry.code < SUBSCRIPTION_REFUSED:
            journal.received(message.packet_id, held=True)
        if self._keeper.position == before:
            return False
        self._keeper.tell(self)
        return True

    def _retain(self, message: Publish) -> None:
        change = self._space.retain(
            Retained(
                self._organization_id,
                message.topic,
                message.payload,
                message.qos,
                (message.properties or NO_PROPERTIES).forwarded,
                self._space.expiry_of(message),
            )
        )
        if change is not None:
            self._keeper.add(change)


def size_of(entry: _Entry) -> int:
    return len(entry.message.payload) + len(entry.message.topic) + ENTRY_BYTES
