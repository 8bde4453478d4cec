"""Replays the intake log to a socket that was away, up to where its live queue begins."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.core.errors import Busy
from fieldstation.domains.live.cursor import Cursor
from fieldstation.domains.live.frames import (
    Frame,
    Shown,
    batch_frame,
    encode_reading,
    gap_frame,
    variant_number,
)
from fieldstation.domains.live.hub import Hub
from fieldstation.domains.live.subscribers import Subscriber
from fieldstation.domains.telemetry.ports import LoggedBatch, ReadingStore, SeriesRow

BATCHES_PER_READ = 16
READINGS_PER_TURN = 64
REACH_TIMEOUT_S = 5.0

Bounds = Mapping[str, tuple[int, int]]


async def resume(
    hub: Hub, store: ReadingStore, subscriber: Subscriber, since: Cursor, *, readings_max: int
) -> AsyncIterator[Frame]:
    """Yield every frame behind ``since``; when it ends, the subscriber's queue goes on without gap
    or repeat.

    What the log no longer has is announced first, as a ``gap`` frame; so is, last, what is more
    than ``readings_max`` readings of the log. Raises ``Busy``.
    """
    subscriber.cursor, subscriber.resuming = since.text(), True
    bounds = await store.log_bounds()
    begin = hub.cursor if is_ahead(since, bounds) else kept_from(since, bounds)
    if begin is not since:
        yield gap_frame(None, begin.text())
    if not await hub.reaches(begin.positions, timeout_s=REACH_TIMEOUT_S):
        raise Busy("This node does not know yet what the client has seen; try again.")
    replay = Replay(store, subscriber, begin, readings_max=readings_max)
    # Never past what the hub has published: the log shows a commit a moment before the hub does.
    async for frame in replay.through(hub.cursor):
        yield frame
    hub.subscribe(subscriber)
    now = hub.cursor
    subscriber.cursor = replay.cursor
    async for frame in replay.through(now):
        yield frame
    if not replay.has_reached(now):
        yield gap_frame(None, now.text())
    subscriber.resuming = False


def is_ahead(since: Cursor, bounds: Bounds) -> bool:
    """Tell whether a cursor is from a log that is gone: a backup was restored since."""
    return any(seq > bounds.get(node, (0, 0))[1] for node, seq in since.positions.items())


def kept_from(since: Cursor, bounds: Bounds) -> Cursor:
    """Return the cursor itself if the log has everything behind it, otherwise where the log begins.

    Of a node that the cursor does not name, everything is behind it; of a batch that was not seen
    to its end, the rest.
    """
    positions, indexes = {**dict.fromkeys(bounds, 0), **since.positions}, dict(since.indexes)
    needed = {node: seq + (indexes.get(node, -1) < 0) for node, seq in positions.items()}
    gone = {node: first for node, (first, _) in bounds.items() if needed[node] < first}
    for node, first in gone.items():
        positions[node] = first - 1
        indexes.pop(node, None)
    return Cursor(positions, node_id=since.node_id, indexes=indexes) if gone else since


class Replay:
    """Walks the log from a cursor on, at most about ``readings_max`` readings far."""

    def __init__(
        self, store: ReadingStore, subscriber: Subscriber, since: Cursor, *, readings_max: int
    ) -> None:
        self._store = store
        self._subscriber = subscriber
        self._wish = subscriber.wish
        self._indexes = dict(since.indexes)
        self._position = {
            node: seq if self._indexes.get(node, -1) < 0 else seq - 1
            for node, seq in since.positions.items()
        }
        self._series: dict[int, SeriesRow] = {}
        self._left = readings_max
        self.cursor = since.text()
        """Where a client stands that has all frames so far."""

    async def through(self, until: Cursor) -> AsyncIterator[Frame]:
        """Yield what the log has up to a cursor. Raises ``Busy``."""
        while self._left > 0 and (
            batches := await self._store.batches_after(
                self._position, batches_max=BATCHES_PER_READ, until=until.positions
            )
        ):
            await self._learn_series(batches)
            for batch in batches:
                for shown in self._shown(batch):
                    for frame in packaged(shown, batched=self._subscriber.batch_ms > 0):
                        self.cursor = frame.cursor
                        yield frame
                    await asyncio.sleep(0)
                self._position[batch.node_id] = batch.seq
                self._left -= len(batch.readings)

    def has_reached(self, until: Cursor) -> bool:
        """Tell whether everything up to a cursor was looked at."""
        return all(self._position.get(node, 0) >= seq for node, seq in until.positions.items())

    async def _learn_series(self, batches: Sequence[LoggedBatch]) -> None:
        unknown = set[int]().union(*(batch.readings.series_id for batch in batches))
        unknown -= self._series.keys()
        for row in await self._store.series_by_id(sorted(unknown)) if unknown else ():
            self._series[row.id] = row

    def _shown(self, batch: LoggedBatch) -> Iterator[list[Shown]]:
        """Give the wanted readings of a batch, a few at a time."""
        seen = self._indexes.pop(batch.node_id, -1) if self._resumes_inside(batch) else -1
        self._indexes.pop(batch.node_id, None)
        timestamp = us_to_rfc3339(batch.committed_us)
        cursor = Cursor({**self._position, batch.node_id: batch.seq}, node_id=batch.node_id)
        head, tail = cursor.around(batch.node_id)
        readings = batch.readings
        for start in range(seen + 1, len(readings), READINGS_PER_TURN):
            turn: list[Shown] = []
            for position in range(start, min(start + READINGS_PER_TURN, len(readings))):
                row = self._series.get(readings.series_id[position])
                if row is None or not self._wish.covers(row.key):
                    continue
                variant = row.variants[variant_number(readings.flags[position])]
                data = encode_reading(readings, position, key=row.key, variant=variant)
                turn.append(Shown(data, timestamp, f"{head}{position}{tail}"))
            yield turn

    def _resumes_inside(self, batch: LoggedBatch) -> bool:
        return self._position.get(batch.node_id, 0) == batch.seq - 1


def packaged(shown: Sequence[Shown], *, batched: bool) -> list[Frame]:
    if batched:
        return [batch_frame(shown)] if shown else []
    return [reading.frame() for reading in shown]
