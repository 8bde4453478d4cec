"""Hands committed readings to the sockets that want them: each encoded once, in short turns, so
that a large commit with many sockets never holds the event loop."""

import asyncio
from collections import deque
from collections.abc import Generator, Mapping, Sequence

from fieldstation.core.clock import Clock, us_to_rfc3339
from fieldstation.domains.live.cursor import Cursor
from fieldstation.domains.live.frames import (
    Frame,
    Shown,
    batch_frame,
    encode_reading,
    gap_frame,
    variant_number,
    wire_form,
)
from fieldstation.domains.live.subscribers import Group, Subscriber, Wish
from fieldstation.domains.telemetry.ports import SeriesKey
from fieldstation.domains.telemetry.writer import Committed

TURN_S = 0.004
CHUNK_READINGS = 64
MEMBERS_PER_LOOK = 128
BATCH_READINGS_MAX = 500
BACKLOG_READINGS_MAX = 200_000
SERIES_MAX = 200_000

Work = Generator[None, None, None]


class Hub:
    """Knows every socket of this node, and where it stands in the intake log.

    ``cursor`` is behind every commit that was published; who subscribes gets the next one. What is
    longer than one turn goes on in ``run_forever``, in order, at most ``BACKLOG_READINGS_MAX``
    readings; then the sockets get a gap instead.
    """

    def __init__(self, clock: Clock, *, node_id: str) -> None:
        self._clock = clock
        self._node_id = node_id
        self._groups: dict[Wish, Group] = {}
        self._group_of: dict[Subscriber, Group] = {}
        self._of_device: dict[tuple[str, str], set[Group]] = {}
        self._of_all_devices: dict[str, set[Group]] = {}
        self._wanting: dict[int, tuple[Group, ...]] = {}
        self._published = 0
        self._backlog: deque[tuple[Work, int]] = deque()
        self._backlog_readings = 0
        self._wake = asyncio.Event()
        self._moved: list[asyncio.Future[None]] = []
        self._turn_began_s = 0.0
        self.cursor = Cursor({node_id: 0}, node_id=node_id)

    def __len__(self) -> int:
        return len(self._group_of)

    def begin_at(self, positions: Mapping[str, int]) -> None:
        """Set where the intake log stands when the node starts."""
        self.cursor = Cursor({self._node_id: 0, **positions}, node_id=self._node_id)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Deliver from the next commit on."""
        group = self._groups.get(subscriber.wish)
        if group is not None and group.pending:
            self._flush(group)
        if group is None or (self._backlog and subscriber.batch_ms):
            group = self._add_group(subscriber.wish)
        group.members.add(subscriber)
        self._group_of[subscriber] = group
        subscriber.joined = self._published
        subscriber.cursor = self.cursor.text()

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Deliver no more; harmless when repeated."""
        group = self._group_of.pop(subscriber, None)
        if group is None:
            return
        group.members.discard(subscriber)
        if not group.members:
            self._remove_group(group)

    def position_of(self, subscriber: Subscriber) -> str:
        """Return where a client stands that has everything that was written to it."""
        group = self._group_of.get(subscriber)
        waits = subscriber.resuming or subscriber.has_more or self._backlog
        if group is None or group.pending or waits:
            return subscriber.cursor
        return self.cursor.text()

    def publish(self, committed: Committed) -> None:
        """Write or queue a commit's readings where they are wanted; encodes only those."""
        known = self.cursor.positions.get(committed.node_id, 0)
        self.cursor = self.cursor.moved_to(committed.node_id, committed.seq)
        self._tell_moved()
        if not self._group_of:
            return
        self._published += 1
        if committed.seq > known + 1:
            self._start(self._tell_gap(self.cursor.text()), readings=0)
        count = len(committed.positions())
        if self._backlog_readings + count > BACKLOG_READINGS_MAX:
            self._start(self._tell_gap(self.cursor.text()), readings=0)
        else:
            self._start(self._deliver(committed, self.cursor, self._published), readings=count)

    async def run_forever(self) -> None:
        """Go on with what did not fit into one turn, leaving the loop to others in between."""
        while True:
            while self._backlog:
                work, readings = self._backlog[0]
                await asyncio.sleep(0)
                self._turn_began_s = self._clock.monotonic()
                if next(work, self) is self:  # at its end
                    self._backlog.popleft()
                    self._backlog_readings -= readings
            self._wake.clear()
            await self._wake.wait()

    async def reaches(self, positions: Mapping[str, int], *, timeout_s: float) -> bool:
        """Wait until what a cursor covers was published here; false when it takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while any(n > self.cursor.positions.get(p, 0) for p, n in positions.items()):
                    moved = asyncio.get_running_loop().create_future()
                    self._moved.append(moved)
                    await moved
        except TimeoutError:
            return False
        return True

    def _tell_moved(self) -> None:
        waiting, self._moved = self._moved, list[asyncio.Future[None]]()
        for moved in waiting:
            if not moved.done():
                moved.set_result(None)

    def _start(self, work: Work, *, readings: int) -> None:
        """Do work now, as far as one turn goes; nothing overtakes what waits already."""
        if not self._backlog:
            self._turn_began_s = self._clock.monotonic()
            if next(work, self) is self:
                return
        self._backlog.append((work, readings))
        self._backlog_readings += readings
        self._wake.set()

    def _turn_is_over(self) -> bool:
        return self._clock.monotonic() - self._turn_began_s > TURN_S

    def _deliver(self, committed: Committed, cursor: Cursor, number: int) -> Work:
        timestamp = us_to_rfc3339(committed.committed_us)
        head, tail = cursor.around(committed.node_id)
        readings, positions = committed.readings, committed.positions()
        for start in range(0, len(positions), CHUNK_READINGS):
            wanted: dict[Group, list[Shown]] = {}
            chunk = positions[start : start + CHUNK_READINGS]
            for index, position in enumerate(chunk, start=start):
                series = committed.series[position]
                groups = self._who_wants(readings.series_id[position], series.key)
                if not groups:
                    continue
                variant = series.variants[variant_number(readings.flags[position])]
                data = encode_reading(readings, position, key=series.key, variant=variant)
                shown = Shown(data, timestamp, f"{head}{index}{tail}")
                for group in groups:
                    wanted.setdefault(group, []).append(shown)
            for group, found in wanted.items():
                if group.wish.batch_ms:
                    self._collect(group, found, number)
                else:
                    yield from self._hand_out(group, [s.frame() for s in found], number)
            if self._turn_is_over():
                yield

    def _hand_out(self, group: Group, frames: Sequence[Frame], number: int) -> Work:
        wire = wire_form(frames)
        members = tuple(group.members)
        for start in range(0, len(members), MEMBERS_PER_LOOK):
            for subscriber in members[start : start + MEMBERS_PER_LOOK]:
                if subscriber.joined < number:
                    subscriber.push(frames, wire)
            if self._turn_is_over():
                yield

    def _collect(self, group: Group, shown: list[Shown], number: int) -> None:
        if group.joined >= number:
            return
        if group.timer is None:
            loop = asyncio.get_running_loop()
            group.timer = loop.call_later(group.wish.batch_ms / 1000, self._flush, group)
        group.pending += shown
        if len(group.pending) >= BATCH_READINGS_MAX:
            self._flush(group)

    def _flush(self, group: Group) -> None:
        """Send what a group's sockets wait for; who joined later was not yet a member."""
        pending = group.take_pending()
        if pending:
            frames = [batch_frame(pending)]
            self._start(self._hand_out(group, frames, self._published + 1), readings=0)

    def _tell_gap(self, cursor: str) -> Work:
        frames = [gap_frame(None, cursor)]
        for group in set(self._group_of.values()):
            yield from self._hand_out(group, frames, self._published + 1)

    def _who_wants(self, series_id: int, key: SeriesKey) -> tuple[Group, ...]:
        groups = self._wanting.get(series_id)
        if groups is None:
            organization_id = key.organization_id
            near = self._of_device.get((organization_id, key.device_id), set())
            candidates = near | self._of_all_devices.get(organization_id, set())
            groups = tuple(group for group in candidates if group.wish.covers(key))
            if len(self._wanting) >= SERIES_MAX:
                self._wanting.clear()
            self._wanting[series_id] = groups
        return groups

    def _add_group(self, wish: Wish) -> Group:
        group = Group(wish, joined=self._published)
        self._groups[wish] = group
        for groups in self._places(wish):
            groups.add(group)
        self._wanting.clear()
        return group

    def _remove_group(self, group: Group) -> None:
        group.take_pending()
        if self._groups.get(group.wish) is group:
            del self._groups[group.wish]
        for groups in self._places(group.wish):
            groups.discard(group)
        self._of_all_devices = {key: found for key, found in self._of_all_devices.items() if found}
        self._of_device = {key: found for key, found in self._of_device.items() if found}
        self._wanting.clear()

    def _places(self, wish: Wish) -> list[set[Group]]:
        """Return the sets in which ``_who_wants`` looks for a wish's group."""
        organization_id = wish.organization_id
        if wish.device_ids is None:
            return [self._of_all_devices.setdefault(organization_id, set())]
        return [self._of_device.setdefault((organization_id, d), set()) for d in wish.device_ids]
