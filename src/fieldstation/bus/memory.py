"""The bus of a single process."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from fieldstation.bus.ports import E
from fieldstation.core.events import Event

log = structlog.get_logger(__name__)


class MemoryBus:
    """Calls subscribers at once, in the order they subscribed; one that fails does not stop the
    next."""

    kind = "memory"
    is_connected = True
    interruptions = 0

    def __init__(self) -> None:
        self._handlers: dict[type[Event], list[Callable[[Any], None]]] = {}

    def publish(self, event: Event) -> None:
        for handler in tuple(self._handlers.get(type(event), ())):
            try:
                handler(event)
            except Exception:
                log.exception("event_handler_failed", event_type=type(event).__name__)

    def deliver(self, event: Event) -> None:
        """Do the same: there is no other node."""
        self.publish(event)

    def subscribe(self, event_type: type[E], handler: Callable[[E], None]) -> Callable[[], None]:
        handlers = self._handlers.setdefault(event_type, [])
        handlers.append(handler)

        def unsubscribe() -> None:
            if handler in handlers:
                handlers.remove(handler)

        return unsubscribe

    async def run_forever(self) -> None:
        """Have nothing to keep up; wait to be cancelled."""
        await asyncio.Event().wait()
