"""Counts what everybody did lately: sliding windows in memory, shared between nodes later."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from fieldstation.core.rates import RateLimit

US_PER_S = 1_000_000
Key = tuple[str, str]
"""What is done, and by whom."""


class Verdict(NamedTuple):
    """Whether one more is allowed; ``reset_s`` is when the window ends, in epoch seconds."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_after_s: int


class Count(NamedTuple):
    """What one window of one key grew by here, to be added to what all nodes have."""

    key: Key
    window_s: int
    window: int
    added: int


class SharedCounts(Protocol):
    """Adds up the counts of all nodes."""

    kind: str

    async def add(self, counts: list[Count]) -> list[int]:
        """Add each and return its total over all nodes. Raises ``Busy`` when nothing was added."""
        ...

    async def close(self) -> None: ...


class Window:
    """One key's running window and the total of the one before it."""

    __slots__ = ("current", "index", "previous", "unshared", "window_s")

    def __init__(self, index: int, window_s: int) -> None:
        self.index = index
        self.window_s = window_s
        self.current = 0
        self.previous = 0
        self.unshared = 0

    def move_to(self, index: int) -> None:
        """Begin another window; only the one directly before it still counts."""
        self.previous = self.current if index == self.index + 1 else 0
        self.index, self.current, self.unshared = index, 0, 0


class RateCounters:
    """Decides from memory alone, by the sliding window counter: what the window before had counts
    by the share of it that still lies within reach.

    Keeps ``keys_max`` windows; beyond them the one unseen for longest is forgotten.
    """

    def __init__(self, now_us: Callable[[], int], *, keys_max: int) -> None:
        self._now_us = now_us
        self._keys_max = keys_max
        self._windows: OrderedDict[Key, Window] = OrderedDict()
        self._touched: dict[Key, Window] = {}
        self.sharing = False

    def __len__(self) -> int:
        return len(self._windows)

    def hit(self, key: Key, limit: RateLimit) -> Verdict:
        """Count one more unless it is one too many."""
        return self._decide(key, limit, counted=1)

    def look(self, key: Key, limit: RateLimit) -> Verdict:
        """Tell whether one more would be allowed, without counting it."""
        return self._decide(key, limit, counted=0)

    def _decide(self, key: Key, limit: RateLimit, *, counted: int) -> Verdict:
        now_s = self._now_us() / US_PER_S
        window_s = limit.window_s
        index = int(now_s // window_s)
        window = self._windows.get(key)
        if window is None:
            window = self._begin(key, index, window_s)
        elif window.index != index:
            window.move_to(index)
        self._windows.move_to_end(key)
        passed = now_s / window_s - index
        used = window.current + window.previous * (1 - passed)
        allowed = used + 1 <= limit.requests
        if self.sharing:
            self._touched[key] = window
        reset_s = (index + 1) * window_s
        if not allowed:
            wait_s = wait_until_room(window, limit, passed)
            return Verdict(False, limit.requests, 0, reset_s, max(math.ceil(wait_s), 1))
        window.current += counted
        window.unshared += counted
        return Verdict(True, limit.requests, int(limit.requests - used - counted), reset_s, 0)

    def _begin(self, key: Key, index: int, window_s: int) -> Window:
        if len(self._windows) >= self._keys_max:
            forgotten, _ = self._windows.popitem(last=False)
            self._touched.pop(forgotten, None)
        window = self._windows[key] = Window(index, window_s)
        return window

    def take_unshared(self, most: int) -> list[Count]:
        """Return what other nodes have not heard of, of up to ``most`` keys; refused ones as well,
        for their total may have changed elsewhere."""
        counts: list[Count] = []
        while self._touched and len(counts) < most:
            key, window = self._touched.popitem()
            counts.append(Count(key, window.window_s, window.index, window.unshared))
            window.unshared = 0
        return counts

    def learn(self, totals: Mapping[Count, int]) -> None:
        """Take over what all nodes together have."""
        for count, total in totals.items():
            window = self._windows.get(count.key)
            if window is not None and window.index == count.window:
                window.current = total + window.unshared

    def give_back(self, counts: list[Count]) -> None:
        """Keep what could not be shared for the next time."""
        for count in counts:
            window = self._windows.get(count.key)
            if window is not None and window.index == count.window:
                window.unshared += count.added
                self._touched[count.key] = window


def wait_until_room(window: Window, limit: RateLimit, passed: float) -> float:
    """Return the seconds until one more is allowed if nobody else does anything."""
    room = limit.requests - 1 - window.current
    if room >= 0:
        until = 1 - room / window.previous if window.previous else 0.0
        return (until - passed) * limit.window_s
    until = 1 - (limit.requests - 1) / window.current
    return (1 - passed + until) * limit.window_s
