"""Who wants what: a socket with its bounded queue, and the sockets that want the same."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fieldstation.domains.live.frames import Frame, Shown
from fieldstation.domains.telemetry.ports import SeriesKey


class Line(Protocol):
    """A way to write frames to a client that were encoded for several."""

    @property
    def is_free(self) -> bool:
        """Whether the client took what was written before and the socket is open."""
        ...

    def write(self, wire: bytes) -> None: ...

    async def drained(self) -> None:
        """Return once the client took most of what was written, or is gone."""
        ...


class Wish(NamedTuple):
    """What sockets have in common that get the same bytes."""

    organization_id: str
    device_ids: frozenset[str] | None
    sensor_types: frozenset[str] | None
    batch_ms: int

    def covers(self, key: SeriesKey) -> bool:
        return (
            key.organization_id == self.organization_id
            and (self.device_ids is None or key.device_id in self.device_ids)
            and (self.sensor_types is None or key.sensor_type in self.sensor_types)
        )


@dataclass(slots=True, eq=False)
class Subscriber:
    """One socket's wishes and what waits for it; a full queue drops what comes and counts it.

    The queue is counted in readings. A ``line`` that is free is written to at once.
    """

    organization_id: str
    queue_frames_max: int
    device_ids: frozenset[str] | None = None
    sensor_types: frozenset[str] | None = None
    batch_ms: int = 0
    line: Line | None = None
    cursor: str = ""
    """Where a client stands that has everything that was written."""
    resuming: bool = False
    """Whether the intake log is still being replayed to it; the hub is ahead of it then."""
    frames: deque[Frame] = field(default_factory=deque)
    waiting: int = 0
    dropped: int = 0
    dropped_cursor: str = ""
    joined: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wish(self) -> Wish:
        return Wish(self.organization_id, self.device_ids, self.sensor_types, self.batch_ms)

    @property
    def has_more(self) -> bool:
        return bool(self.frames) or self.dropped > 0

    def push(self, frames: Sequence[Frame], wire: bytes | None = None) -> None:
        """Write frames if the client keeps up; otherwise queue them, or count them as dropped."""
        line = self.line
        if (
            wire is not None
            and line is not None
            and not self.frames
            and not self.dropped
            and line.is_free
        ):
            line.write(wire)
            self.cursor = frames[-1].cursor
            return
        for frame in frames:
            # Once one was dropped no frame overtakes the gap.
            if self.dropped or self.waiting + frame.readings > self.queue_frames_max:
                self.dropped += max(frame.readings, 1)
                self.dropped_cursor = frame.cursor
            else:
                self.frames.append(frame)
                self.waiting += frame.readings
        self.changed.set()

    def take(self) -> Frame | None:
        """Return the next frame that waits."""
        if not self.frames:
            return None
        frame = self.frames.popleft()
        self.waiting -= frame.readings
        return frame


class Group:
    """The sockets with one wish; ``pending`` is what waits for the end of their ``batch_ms``."""

    __slots__ = ("joined", "members", "pending", "timer", "wish")

    def __init__(self, wish: Wish, *, joined: int) -> None:
        self.wish = wish
        self.members: set[Subscriber] = set()
        self.pending: list[Shown] = []
        self.timer: asyncio.TimerHandle | None = None
        self.joined = joined

    def take_pending(self) -> list[Shown]:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        taken, self.pending = self.pending, list[Shown]()
        return taken
