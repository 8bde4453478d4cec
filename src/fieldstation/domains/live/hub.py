"""Hands committed readings to the sockets that want them: each frame encoded once, each socket with
its own bounded queue."""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from fieldstation.core.clock import Clock, us_to_rfc3339
from fieldstation.domains.live.cursor import Cursor
from fieldstation.domains.telemetry.ports import (
    VARIANT_SHIFT,
    Columns,
    Detail,
    SeriesKey,
    Variant,
)
from fieldstation.domains.telemetry.rendering import Rendered, render
from fieldstation.domains.telemetry.writer import Committed

NO_DETAIL = Detail()


class Frame(msgspec.Struct, tag="sensor_data", tag_field="type", gc=False):
    """One reading on a socket."""

    data: Rendered
    timestamp: str
    cursor: str


@dataclass(slots=True, eq=False)
class Subscriber:
    """One socket's wishes and what waits for it; a full queue drops what comes and counts it."""

    organization_id: str
    queue_frames_max: int
    device_ids: frozenset[str] | None = None
    sensor_types: frozenset[str] | None = None
    frames: deque[bytes] = field(default_factory=deque)
    dropped: int = 0
    full_since: float | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, key: SeriesKey) -> bool:
        return (self.device_ids is None or key.device_id in self.device_ids) and (
            self.sensor_types is None or key.sensor_type in self.sensor_types
        )

    def push(self, frame: bytes, now_s: float) -> None:
        """Queue a frame, or count it as dropped."""
        if self.dropped or len(self.frames) >= self.queue_frames_max:  # no frame overtakes a gap
            self.dropped += 1
            if self.full_since is None:
                self.full_since = now_s
        else:
            self.frames.append(frame)
        self.changed.set()


class Hub:
    """Knows every socket of this node, by organization."""

    def __init__(self, clock: Clock, *, node_id: str) -> None:
        self._clock = clock
        self._node_id = node_id
        self._subscribers: dict[str, set[Subscriber]] = {}
        self.cursor = Cursor({node_id: 0}, node_id=node_id)

    def __len__(self) -> int:
        return sum(len(subscribers) for subscribers in self._subscribers.values())

    def begin_at(self, positions: Mapping[str, int]) -> None:
        """Set where the intake log stands when the node starts."""
        self.cursor = Cursor({self._node_id: 0, **positions}, node_id=self._node_id)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Deliver from the next commit on."""
        self._subscribers.setdefault(subscriber.organization_id, set()).add(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Deliver no more; harmless when repeated."""
        subscribers = self._subscribers.get(subscriber.organization_id, set())
        subscribers.discard(subscriber)
        if not subscribers:
            self._subscribers.pop(subscriber.organization_id, None)

    def publish(self, committed: Committed) -> None:
        """Queue a commit's readings where they are wanted; encodes only those."""
        self.cursor = self.cursor.moved_to(committed.seq)
        if not self._subscribers:
            return
        now_s = self._clock.monotonic()
        timestamp = us_to_rfc3339(committed.committed_us)
        readings = committed.readings
        for index, position in enumerate(committed.positions()):
            series = committed.series[position]
            wanting = [
                subscriber
                for subscriber in self._subscribers.get(series.key.organization_id, ())
                if subscriber.wants(series.key)
            ]
            if not wanting:
                continue
            variant = series.variants[readings.flags[position] >> VARIANT_SHIFT]
            frame = encode_frame(
                readings,
                position,
                key=series.key,
                variant=variant,
                timestamp=timestamp,
                cursor=self.cursor.at(index),
            )
            deliver(frame, wanting, now_s)


def deliver(frame: bytes, subscribers: Iterable[Subscriber], now_s: float) -> None:
    for subscriber in subscribers:
        subscriber.push(frame, now_s)


def encode_frame(
    readings: Columns,
    position: int,
    *,
    key: SeriesKey,
    variant: Variant,
    timestamp: str,
    cursor: str,
) -> bytes:
    """Encode one reading as a ``sensor_data`` frame."""
    rendered = render(
        readings.series_id[position],
        key,
        variant,
        ts_us=readings.ts_us[position],
        value=readings.value[position],
        flags=readings.flags[position],
        detail=readings.details.get(position, NO_DETAIL),
    )
    return msgspec.json.encode(Frame(rendered, timestamp, cursor))
