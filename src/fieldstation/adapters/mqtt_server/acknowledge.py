"""The order of acknowledgements: as messages arrived, and none before it is safe."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from fieldstation.adapters.mqtt_server.packets import Publish
from fieldstation.adapters.mqtt_server.ports import RetainedMessage
from fieldstation.adapters.mqtt_server.retained import RetainedWriter
from fieldstation.adapters.mqtt_server.space import TopicSpace


class _Passed(NamedTuple):
    """A message that needs no commit and only waits for those before it."""

    message: Publish


class Acknowledger:
    """The receipt of one connection; lives on after it until everything that it took is settled.

    A message goes through two lines: until the station settled it (then it is forwarded and
    retained), and, behind a retained one, until that is saved. A message that nobody listens to is
    only its packet id.
    """

    def __init__(
        self,
        organization_id: str,
        space: TopicSpace,
        retained: RetainedWriter,
        *,
        acknowledge: Callable[[list[int]], None],
        abandon: Callable[[], None],
    ) -> None:
        self._organization_id = organization_id
        self._space = space
        self._retained = retained
        self._acknowledge = acknowledge
        self._abandon = abandon
        self._unsettled: deque[int | Publish | _Passed] = deque()
        self._unsaved: deque[tuple[int, bool]] = deque()

    def __len__(self) -> int:
        """Count the messages not yet acknowledged."""
        return len(self._unsettled) + len(self._unsaved)

    def taken(self, message: Publish) -> None:
        """The station took this message and will settle it."""
        plain = not message.retain and not self._space.has_listeners
        self._unsettled.append(message.packet_id if plain else message)

    def passed(self, message: Publish) -> None:
        """The station does not need this message."""
        if self._unsettled:
            self._unsettled.append(_Passed(message))
        else:
            self._release([message])

    def settle(self, count: int) -> None:
        """The oldest ``count`` taken messages are safe; see ``ports.Receipt``."""
        unsettled = self._unsettled
        released: list[int | Publish] = []
        while unsettled:
            entry = unsettled[0]
            if isinstance(entry, _Passed):
                released.append(entry.message)
            elif count:
                count -= 1
                released.append(entry)
            else:
                break
            unsettled.popleft()
        if count:
            raise ValueError(f"{count} more messages were settled than taken")
        self._release(released)

    def fail(self) -> None:
        """What is unsettled was not stored; see ``ports.Receipt``."""
        self._unsettled.clear()
        self._abandon()

    def saved(self, count: int) -> None:
        """The oldest ``count`` unsaved retained messages are committed."""
        packet_ids: list[int] = []
        while self._unsaved:
            packet_id, waits = self._unsaved[0]
            if waits:
                if not count:
                    break
                count -= 1
            self._unsaved.popleft()
            if packet_id:
                packet_ids.append(packet_id)
        self._acknowledge(packet_ids)

    def _release(self, released: list[int | Publish]) -> None:
        packet_ids: list[int] = []
        for entry in released:
            if isinstance(entry, int):
                packet_id, waits = entry, False
            else:
                packet_id, waits = entry.packet_id, self._deliver(entry)
            if waits or self._unsaved:
                self._unsaved.append((packet_id, waits))
            elif packet_id:
                packet_ids.append(packet_id)
        self._acknowledge(packet_ids)

    def _deliver(self, message: Publish) -> bool:
        """Forward and retain a message.

        Return whether its acknowledgement waits until that is saved.
        """
        self._space.forward(message.topic, message.payload, qos=message.qos)
        if not message.retain:
            return False
        change = RetainedMessage(
            self._organization_id, message.topic, message.payload, min(message.qos, 1)
        )
        if not self._space.retain(change):
            return False
        self._retained.submit(change, self)
        return True
