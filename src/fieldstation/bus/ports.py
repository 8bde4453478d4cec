"""What carries events between those who announce and those who listen."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from fieldstation.core.events import Event

E = TypeVar("E", bound=Event)


class Bus(Protocol):
    """Delivers every published event to its type's subscribers."""

    def publish(self, event: Event) -> None:
        """Deliver; never raises, never blocks."""
        ...

    def subscribe(self, event_type: type[E], handler: Callable[[E], None]) -> Callable[[], None]:
        """Call ``handler`` for each event of exactly this type; return what ends it."""
        ...
