"""Replays the intake log to a socket that was away, up to where its live queue begins."""

from collections.abc import AsyncIterator

import msgspec

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.domains.live.cursor import Cursor
from fieldstation.domains.live.hub import Hub, Subscriber, encode_frame
from fieldstation.domains.telemetry.ports import (
    VARIANT_SHIFT,
    LoggedBatch,
    ReadingStore,
    SeriesRow,
)

BATCHES_PER_READ = 64


async def resume(
    hub: Hub, store: ReadingStore, subscriber: Subscriber, since: Cursor
) -> AsyncIterator[bytes]:
    """Yield every frame behind ``since``; when it ends, the subscriber's queue goes on without gap
    or repeat.

    What the log no longer has is announced first, as a ``gap`` frame. Raises ``Busy``.
    """
    if not await is_covered(store, since):
        yield msgspec.json.encode({"type": "gap", "dropped": None, "cursor": hub.cursor.text()})
        since = hub.cursor if is_ahead(since, hub.cursor) else since
    replay = Replay(store, subscriber, since)
    # Never past what the hub has published: the log shows a commit a moment before the hub does.
    while await replay.read():
        for frame in replay.frames(until=hub.cursor):
            yield frame
        if not replay.moved:
            break
    hub.subscribe(subscriber)
    begin = hub.cursor
    while await replay.read():
        for frame in replay.frames(until=begin):
            yield frame
        if not replay.moved:
            break


async def is_covered(store: ReadingStore, since: Cursor) -> bool:
    """Tell whether the log still has, and already has, everything behind the cursor."""
    bounds = await store.log_bounds()
    for node, seq in since.positions.items():
        oldest, newest = bounds.get(node, (1, 0))
        if not oldest <= seq + 1 or seq > newest:
            return False
    return True


def is_ahead(since: Cursor, now: Cursor) -> bool:
    """Tell whether a cursor is from a log that is gone: a backup was restored since."""
    return any(seq > now.positions.get(node, 0) for node, seq in since.positions.items())


class Replay:
    """Walks the log from a cursor on."""

    def __init__(self, store: ReadingStore, subscriber: Subscriber, since: Cursor) -> None:
        self._store = store
        self._subscriber = subscriber
        self._indexes = dict(since.indexes)
        self._node_id = since.node_id
        self._position = {
            node: seq if self._indexes.get(node, -1) < 0 else seq - 1
            for node, seq in since.positions.items()
        }
        self._batches: list[LoggedBatch] = []
        self._series: dict[int, SeriesRow] = {}
        self.moved = False
        """Whether the last ``frames`` came any further."""

    async def read(self) -> bool:
        """Read the next batches with their series; False when there are none."""
        self._batches = await self._store.batches_after(
            self._position, batches_max=BATCHES_PER_READ
        )
        unknown = {
            series_id
            for batch in self._batches
            for series_id in batch.readings.series_id
            if series_id not in self._series
        }
        for row in await self._store.series_by_id(list(unknown)) if unknown else ():
            self._series[row.id] = row
        return bool(self._batches)

    def frames(self, *, until: Cursor) -> list[bytes]:
        """Return the frames that were just read; of this node none behind ``until``."""
        found: list[bytes] = []
        self.moved = False
        for batch in self._batches:
            own = batch.node_id == self._node_id
            if own and batch.seq > until.positions.get(batch.node_id, 0):
                continue
            found.extend(self._frames_of(batch))
            self._position[batch.node_id] = batch.seq
            self.moved = True
        return found

    def _frames_of(self, batch: LoggedBatch) -> list[bytes]:
        seen = self._indexes.pop(batch.node_id, -1) if self._resumes_inside(batch) else -1
        self._indexes.pop(batch.node_id, None)
        timestamp = us_to_rfc3339(batch.committed_us)
        cursor = Cursor({**self._position, batch.node_id: batch.seq}, node_id=batch.node_id)
        frames = []
        for position, series_id in enumerate(batch.readings.series_id):
            row = self._series.get(series_id)
            if position <= seen or row is None or not self._is_wanted(row):
                continue
            variant = row.variants[batch.readings.flags[position] >> VARIANT_SHIFT]
            frames.append(
                encode_frame(
                    batch.readings,
                    position,
                    key=row.key,
                    variant=variant,
                    timestamp=timestamp,
                    cursor=cursor.text({batch.node_id: position}),
                )
            )
        return frames

    def _resumes_inside(self, batch: LoggedBatch) -> bool:
        return self._position.get(batch.node_id, 0) == batch.seq - 1

    def _is_wanted(self, row: SeriesRow) -> bool:
        return row.key.organization_id == self._subscriber.organization_id and (
            self._subscriber.wants(row.key)
        )
