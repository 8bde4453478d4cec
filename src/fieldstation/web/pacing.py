"""Refusals of a busy station come at a bounded rate: the work of refusing must not keep it busy.

A client that sends again as soon as it is refused is held for a moment instead. Otherwise nine of
ten such requests would take most of the time in which the tenth could be served.
"""

import asyncio

REFUSALS_PER_S = 200
WAIT_S_MAX = 5.0
"""Most clients wait longer for an answer. Two thousand that do nothing else are refused 400 times a
second."""


class Pace:
    """Hands out turns; what waits is bounded by the number of connections."""

    def __init__(self) -> None:
        self._next_s = 0.0

    async def turn(self) -> None:
        """Wait until one more refusal may be answered, at most ``WAIT_S_MAX``."""
        now_s = asyncio.get_running_loop().time()
        turn_s = min(max(self._next_s, now_s), now_s + WAIT_S_MAX)
        self._next_s = turn_s + 1 / REFUSALS_PER_S
        await asyncio.sleep(turn_s - now_s)
