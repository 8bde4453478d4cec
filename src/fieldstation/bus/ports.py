"""What carries events between those who announce and those who listen."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from fieldstation.core.events import Event

E = TypeVar("E", bound=Event)


class Bus(Protocol):
    """Delivers every published event to its type's subscribers, on every node it reaches.

    ``kind`` and ``is_connected`` are for the health page; ``interruptions`` counts how often events
    of other nodes may have been missed.
    """

    @property
    def kind(self) -> str: ...

    @property
    def is_connected(self) -> bool: ...

    @property
    def interruptions(self) -> int: ...

    def publish(self, event: Event) -> None:
        """Deliver; never raises, never blocks."""
        ...

    def deliver(self, event: Event) -> None:
        """Deliver on this node only; never raises, never blocks."""
        ...

    def subscribe(self, event_type: type[E], handler: Callable[[E], None]) -> Callable[[], None]:
        """Call ``handler`` for each event of exactly this type; return what ends it."""
        ...

    async def run_forever(self) -> None:
        """Keep up what delivery needs, until cancelled."""
        ...
