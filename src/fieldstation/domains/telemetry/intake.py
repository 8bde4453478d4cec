"""The bounded queue between every door and the writer: readings in columns, group by group."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import cast

from fieldstation.core.clock import Clock, parse_time
from fieldstation.core.errors import Busy, TooLarge
from fieldstation.core.settings import TelemetrySettings
from fieldstation.domains.telemetry.catalog import VARIANTS_MAX, DeviceSeries, Series
from fieldstation.domains.telemetry.exchanges import Exchange
from fieldstation.domains.telemetry.groups import CountedReceipt, Group, Heartbeat, Waiter
from fieldstation.domains.telemetry.payloads import (
    Incoming,
    Rejection,
    check_kept,
    check_labels,
    check_time,
    check_value,
    encode_metadata,
)
from fieldstation.domains.telemetry.ports import FLAG_DETAIL, Detail, Kind, Refusal, Variant
from fieldstation.domains.telemetry.times import ReadTimes, assign_time

ORGANIZATION_SHARE = 0.5
SPELLINGS_PER_SERIES_MAX = 4
DETAILS_PER_GROUP = 2_000  # long texts and metadata; MariaDB takes 16 MiB at once
TIMES_MAX = 4_096
TIMES_KEPT_US = 1_000_000
FULL = "The intake queue is full; nothing of this was stored, send it again in a moment."


class Intake:
    """Takes readings from the doors; full means ``Busy`` for everybody, or for one organization
    over its half."""

    def __init__(self, settings: TelemetrySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._groups: deque[Group] = deque()
        self._open = Group()
        self._waiting = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._by_organization: dict[str, int] = {}
        self._wakers: list[Callable[[], None]] = []
        self._share_max = int(settings.queue_readings_max * ORGANIZATION_SHARE)
        self._low_water = settings.queue_readings_max // 2
        self._times = ReadTimes(0)
        self._refusing: Busy | None = None
        self.queued = 0
        self.refused_full = 0

    def has_room(self, organization_id: str) -> bool:
        """Whether anything more of this organization is taken now."""
        return (
            self.queued < self._settings.queue_readings_max
            and self._by_organization.get(organization_id, 0) < self._share_max
        )

    def when_ready(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once there is room again."""
        self._wakers.append(wake)

    def offer(
        self,
        device: DeviceSeries,
        readings: Sequence[Incoming],
        *,
        protocol: str,
        positions: Sequence[int] | None = None,
    ) -> tuple[int, int, list[Rejection]]:
        """Put readings into the open group: ``(start, count, rejected)``.

        Raises ``Busy`` when the queue has no room for all of them, ``TooLarge`` when it never will
        have; then none is taken.
        The caller adds the receipt: ``wait_for`` or ``count_for``, in the same turn of the loop.
        """
        group = self._open
        is_full = len(group) + len(readings) > self._settings.batch_readings_max
        if group.entries and (is_full or len(group.details) >= DETAILS_PER_GROUP):
            group = self._next_group()
        if len(readings) > self._share_max:
            raise TooLarge(
                f"{len(readings)} readings never fit into the queue; send them in parts.",
                code="too_many_readings",
            )
        self.make_sure_of_room(device.organization_id, len(readings))
        device.heed_retention()
        start = len(group.ts_us)
        rejected = self._append_all(group, device, readings, protocol)
        if rejected and positions is not None:
            rejected = [fault._replace(index=positions[fault.index]) for fault in rejected]
        taken = len(group.ts_us) - start
        self._account(group, device.organization_id, taken)
        return start, taken, rejected

    def wait_for(self, start: int, count: int) -> asyncio.Future[bytes]:
        """Return the future of what ``offer`` just put: one ``Outcome`` a reading, after the
        commit."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open.waiters.append(Waiter(future, start, count))
        self._open.entries += 1
        self._waiting.set()
        return future

    def count_for(self, receipt: CountedReceipt) -> None:
        """Settle one message of ``receipt`` when the open group is committed."""
        counted = self._open.counted
        counted[receipt] = counted.get(receipt, 0) + 1
        self._open.entries += 1
        self._waiting.set()

    def keep(self, exchange: Exchange) -> None:
        """Keep a packet id, in the same commit as what ``count_for`` counted just now."""
        self._open.begun.append(exchange)

    def release(self, exchange: Exchange, receipt: CountedReceipt) -> None:
        """Delete a packet id that was kept."""
        self._open.ended.append(exchange)
        self.count_for(receipt)

    def refuse(self, refusal: Refusal) -> None:
        """Keep a message that cannot be stored as readings, in the same commit; ask ``has_room``
        first."""
        self._open.refusals.append(refusal)
        self._open.entries += 1
        self._waiting.set()
        self._account(self._open, refusal.organization_id, 1)

    def beat(self, heartbeat: Heartbeat) -> None:
        """Keep a sign of life, in the same commit; ask ``has_room`` first."""
        self._open.heartbeats.append(heartbeat)
        self._account(self._open, heartbeat.organization_id, 1)

    async def take(self) -> Group:
        """Wait for the next group; from then on it is the writer's."""
        while True:
            if self._groups:
                return self._groups.popleft()
            if self._open.entries:
                group, self._open = self._open, Group()
                return group
            self._waiting.clear()
            await self._waiting.wait()

    def refuse_requests(self, error: Busy) -> None:
        """Refuse the requests that wait and, until ``admit_requests``, those that come; messages
        keep waiting."""
        self._refusing = error
        groups = [*self._groups, self._open]
        for position, group in enumerate(groups):
            if not group.waiters:
                continue
            group.fail_waiters(error)
            refused = group.waiting_by_organization()
            groups[position] = group.without_waiters()
            groups[position].by_organization = dict(Counter(group.by_organization) - refused)
            self._give_back(refused)
        self._open = groups.pop()
        self._groups = deque(group for group in groups if group.entries)

    def admit_requests(self) -> None:
        """The store is back."""
        self._refusing = None

    @property
    def state(self) -> str:
        """``ok``, ``full`` (the queue), or why the store takes nothing now."""
        room = "ok" if self.has_room("") else "full"
        return self._refusing.code if self._refusing else room

    def make_sure_of_store(self) -> None:
        """Raise ``Busy`` while requests are refused."""
        if self._refusing is not None:
            raise Busy(self._refusing.detail, code=self._refusing.code)

    async def emptied(self) -> None:
        """Wait until everything taken is committed or given up."""
        await self._empty.wait()

    def done(self, group: Group) -> None:
        """Give back the room of a group that is committed or given up, and wake who waits."""
        self._give_back(group.by_organization)

    def _give_back(self, by_organization: Mapping[str, int]) -> None:
        for organization_id, count in by_organization.items():
            left = self._by_organization[organization_id] - count
            if left > 0:
                self._by_organization[organization_id] = left
            else:
                del self._by_organization[organization_id]
            self.queued -= count
        if not self.queued:
            self._empty.set()
        if self._wakers and self.queued <= self._low_water:
            wakers = self._wakers
            self._wakers = []
            for wake in wakers:
                wake()

    def _append_all(
        self, group: Group, device: DeviceSeries, readings: Sequence[Incoming], protocol: str
    ) -> list[Rejection]:
        """Append a body of plain numbers with known names column by column, others one by one."""
        now_us = self._clock.now_us()
        if len(readings) == 1:
            return self._append_each(group, device, readings, protocol, now_us)
        known, times = device.known[protocol], self._read_times(now_us)
        values = cast(list[float], [reading.value for reading in readings])
        try:
            found = [
                known[r.sensor_type, r.reading_type, r.sensor_id, r.unit, r.origin, r.metadata]
                for r in readings
            ]
            instants = [times[reading.timestamp] for reading in readings]
        except (KeyError, TypeError):  # a new name or label, or metadata
            return self._append_each(group, device, readings, protocol, now_us)
        # No time is 0; one before anything is kept may be too old for its series.
        if (
            set(map(type, values)) != {float}
            or not isfinite(sum(values))
            or min(instants) < device.raw_from_us
        ):
            return self._append_each(group, device, readings, protocol, now_us)
        group.series += [series for series, _ in found]
        group.flags += [flags for _, flags in found]
        group.ts_us += instants
        group.value += values
        return []

    def _append_each(
        self,
        group: Group,
        device: DeviceSeries,
        readings: Sequence[Incoming],
        protocol: str,
        now_us: int,
    ) -> list[Rejection]:
        """Append plain readings here and the others the careful way."""
        known, times = device.known[protocol], self._read_times(now_us)
        rejected: list[Rejection] = []
        for index, r in enumerate(readings):
            value = r.value
            if r.metadata is None and type(value) is float and isfinite(value):
                found = known.get(
                    (r.sensor_type, r.reading_type, r.sensor_id, r.unit, r.origin, None)
                )
                if found is not None:
                    series, flags = found
                    time = r.timestamp
                    ts_us = assign_time(series, now_us + index) if time is None else times[time]
                    if ts_us >= series.raw_from_us:
                        group.series.append(series)
                        group.ts_us.append(ts_us)
                        group.value.append(value)
                        group.flags.append(flags)
                        continue
            fault = self._append_unusual(group, device, r, now_us + index, protocol)
            if fault is not None:
                rejected.append(fault._replace(index=index))
        return rejected

    def _read_times(self, now_us: int) -> ReadTimes:
        times = self._times
        if now_us - times.now_us > TIMES_KEPT_US or len(times) > TIMES_MAX:
            times = self._times = ReadTimes(now_us)
        return times

    def _append_unusual(
        self, group: Group, device: DeviceSeries, reading: Incoming, now_us: int, protocol: str
    ) -> Rejection | None:
        """Append a reading with a new name, label or time, a text, a boolean or metadata; or say
        why not."""
        fault = check_labels(reading) or check_value(reading.value)
        if fault is not None:
            return fault
        metadata = None if not reading.metadata else encode_metadata(reading.metadata)
        if isinstance(metadata, Rejection):
            return metadata
        sensor_type = (reading.sensor_type or reading.reading_type or "").strip().lower()
        given_us = None if reading.timestamp is None else parse_time(reading.timestamp)
        if reading.timestamp is not None:
            from_us = device.kept_from_us(sensor_type)
            fault = check_time(given_us, now_us) or check_kept(
                given_us, sensor_type, from_us=from_us
            )
            if fault is not None:
                return fault
        most = self._settings.series_per_device_max
        series = device.find_or_plan(sensor_type, reading.sensor_id or sensor_type, series_max=most)
        if series is None:
            return Rejection(0, "too_many_series", f"A device has at most {most} series.")
        variant = Variant(reading.unit, reading.origin, protocol)
        if not series.admits(variant):
            return Rejection(
                0, "too_many_labels", f"A series has at most {VARIANTS_MAX} units and origins."
            )
        self._remember(device, reading, series, variant)
        append_checked(
            group,
            series,
            reading,
            ts_us=assign_time(series, now_us) if given_us is None else given_us,
            metadata=metadata,
            variant=variant,
        )
        return None

    def _remember(
        self, device: DeviceSeries, reading: Incoming, series: Series, variant: Variant
    ) -> None:
        """Note what a reading's names and labels lead to, once its variant has a number."""
        flags = series.variant_flags.get(variant)
        if flags is None:
            return
        known = device.known[variant.source_protocol]
        if len(known) >= self._settings.series_per_device_max * SPELLINGS_PER_SERIES_MAX:
            known.clear()
        spelling = (
            reading.sensor_type,
            reading.reading_type,
            reading.sensor_id,
            reading.unit,
            reading.origin,
            None,
        )
        known[spelling] = (series, flags)

    def make_sure_of_room(self, organization_id: str, count: int) -> None:
        """Raise ``Busy`` when there is none for so many readings."""
        if (
            self.queued + count > self._settings.queue_readings_max
            or self._by_organization.get(organization_id, 0) + count > self._share_max
        ):
            self.refused_full += 1
            raise Busy(FULL, code="queue_full")

    def _account(self, group: Group, organization_id: str, count: int) -> None:
        if count:
            mine = group.by_organization
            mine[organization_id] = mine.get(organization_id, 0) + count
            queued = self._by_organization
            queued[organization_id] = queued.get(organization_id, 0) + count
            self.queued += count
            self._empty.clear()

    def _next_group(self) -> Group:
        self._groups.append(self._open)
        self._open = Group()
        return self._open


def append_checked(
    group: Group,
    series: Series,
    reading: Incoming,
    *,
    ts_us: int,
    metadata: bytes | None,
    variant: Variant,
) -> None:
    value = reading.value
    flags = series.variant_flags.get(variant)
    position = len(group.ts_us)
    if flags is None:
        group.new_variants[position] = variant
        flags = 0
    text = value if isinstance(value, str) else None
    if text is not None:
        flags |= Kind.TEXT
    elif isinstance(value, bool):
        flags |= Kind.BOOLEAN
    if text is not None or metadata is not None:
        flags |= FLAG_DETAIL
        group.details[position] = Detail(text=text, metadata=metadata)
    group.series.append(series)
    group.ts_us.append(ts_us)
    group.value.append(0.0 if isinstance(value, str) else float(value))
    group.flags.append(flags)
