"""Gives every connection its turn on the event loop, so that no flood starves anything else."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from fieldstation.core.clock import Clock


class Pumped(Protocol):
    """A connection, as the pump sees it."""

    def take_turn(self) -> bool:
        """Handle a slice of what arrived; return whether there is more."""
        ...

    def flush(self) -> None:
        """Hand what was sent since the last flush to the transport."""
        ...

    def close_broken(self) -> None:
        """Close the connection: handling it raised an error that nobody expected."""
        ...


class Pump:
    """Runs connections round-robin for at most ``turn_ms``, then lets the loop do the rest once."""

    def __init__(self, clock: Clock, *, turn_ms: float) -> None:
        self._clock = clock
        self._turn_s = turn_ms / 1_000
        self.turn_s = clock.monotonic()
        """When the last turn began."""
        self._ready: deque[Pumped] = deque()
        self._unflushed: list[Pumped] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn_scheduled = False

    def add(self, connection: Pumped) -> None:
        """Let a connection take turns until it says that nothing is left.

        It must not be in the pump already.
        """
        self._ready.append(connection)
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._call_soon(self._turn)

    def flush_soon(self, connection: Pumped) -> None:
        """Flush a connection in this round of the loop, with whatever else it sends until then."""
        if not self._unflushed:
            self._call_soon(self._flush)
        self._unflushed.append(connection)

    def _call_soon(self, callback: Callable[[], None]) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(callback)

    def _turn(self) -> None:
        now_s = self._clock.monotonic
        self.turn_s = now_s()
        ends_at_s = self.turn_s + self._turn_s
        ready = self._ready
        running: Pumped | None = None
        try:
            while ready:
                running = ready.popleft()
                if running.take_turn():
                    ready.append(running)
                if now_s() >= ends_at_s:
                    break
            running = None
        finally:
            # An unexpected error goes to the loop's handler and costs its own connection only.
            if running is not None:
                running.close_broken()
            self._turn_scheduled = bool(ready)
            if ready:
                self._call_soon(self._turn)

    def _flush(self) -> None:
        unflushed = self._unflushed
        self._unflushed = []
        for connection in unflushed:
            connection.flush()
