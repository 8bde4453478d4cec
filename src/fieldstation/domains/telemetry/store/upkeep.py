"""Where readings stay: flushed into chunks, sealed, rolled up, deleted; one of these at a time."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from fieldstation.core.clock import Clock
from fieldstation.domains.telemetry.ports import Appended
from fieldstation.domains.telemetry.store import (
    chunks,
    deletion,
    expiry,
    flushing,
    rolling_up,
    rollups,
    sealing,
)
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.floors import floors_of
from fieldstation.domains.telemetry.store.points import Points, in_key_order
from fieldstation.domains.telemetry.store.recent import Part, Recent
from fieldstation.domains.telemetry.store.recording import Batch
from fieldstation.domains.telemetry.store.rollup_blocks import DAY
from fieldstation.domains.telemetry.store.steps import Steps

Result = TypeVar("Result")


class KeptStore(ABC):
    """What a store does with its readings beside taking them and answering, and what it needs of a
    database for that.
    """

    def __init__(self, *, dialect: Dialect, node_id: str, clock: Clock) -> None:
        self._dialect = dialect
        self._node_id = node_id
        self._clock = clock
        self.flush_limits = flushing.FlushLimits()
        self.seal_limits = sealing.SealLimits()
        self.rollup_limits = rollups.RollupLimits()
        self.expiry_limits = expiry.ExpiryLimits()
        self._recent = Recent()
        self._recent_since_us = clock.now_us()
        self._flushing = asyncio.Lock()

    @abstractmethod
    async def _read(self, steps: Steps[Result]) -> Result:
        """Run steps that change nothing; raise ``Busy``."""

    @abstractmethod
    async def _write(self, steps: Steps[Result]) -> Result:
        """Run steps in one durable transaction; raise ``Busy``."""

    @abstractmethod
    async def _read_readings(self, work: Callable[[Sequence[Part]], Steps[Result]]) -> Result:
        """Run steps that bring together memory and chunks, off the event loop; raise ``Busy``.

        They get the parts as they are once everything acknowledged anywhere is known here.
        """

    @abstractmethod
    async def _append(self, batch: Batch) -> Appended:
        """Commit one batch; raise ``Busy``."""

    @abstractmethod
    async def _bytes_beside(self) -> int:
        """Return what the database keeps on the disk beside its tables."""

    async def flush_due(self) -> None:
        if not len(self._recent):
            self._recent_since_us = self._clock.now_us()
        if self._is_flush_due():
            async with self._flushing_alone():
                if self._is_flush_due():
                    await self._flush_all()

    def _is_flush_due(self) -> bool:
        waited_us = self._clock.now_us() - self._recent_since_us
        limits = self.flush_limits
        return len(self._recent) >= limits.readings or waited_us >= limits.interval_us

    async def flush(self) -> None:
        async with self._flushing_alone():
            await self._flush_all()

    @asynccontextmanager
    async def _flushing_alone(self) -> AsyncGenerator[None, None]:
        """Keep flushes and deletions apart: each would undo what the other does."""
        async with self._flushing:
            yield

    async def _flush_all(self) -> None:
        """Write the chunks of everything that is in memory now."""
        target = self._recent.last_id
        while parts := self._recent.freeze():
            since_us = self._clock.now_us()
            last_id = parts[-1].last_id
            await self._flush_through(last_id, [part.points for part in parts])
            self._recent.forget_through(last_id)
            self._recent_since_us = since_us
            if last_id >= target:
                return

    async def _flush_through(self, through_id: int, pieces: Sequence[Points]) -> None:
        """Write the chunks of everything up to a log entry; what stands already stays."""
        points, series_ids = await asyncio.to_thread(flushing.sort, pieces)
        alive = await self._read(flushing.living(self._dialect, series_ids))
        rows, details, dropped = await asyncio.to_thread(flushing.make_rows, points, alive)
        await self._write(flushing.begin(through_id))
        size = self.flush_limits.chunks_per_slice
        for at in range(0, len(rows), size):
            await self._write(flushing.write_chunks(rows[at : at + size]))
        size = self.flush_limits.details_per_slice
        for at in range(0, len(details), size):
            await self._write(flushing.write_details(details[at : at + size]))
        await self._write(flushing.end(self._dialect, through_id, dropped=dropped))

    async def _finish_flush(self) -> None:
        """Begin where the last flush ended."""
        self._recent.begin_at(await self._unfinished_flushed())

    async def _unfinished_flushed(self) -> int:
        """Finish a flush that did not reach its end; return up to where everything is in chunks."""
        progress = await self._read(flushing.progress(self._dialect))
        if progress.flushing > progress.flushed:
            rest = flushing.entries_between(self._dialect, progress.flushed, progress.flushing)
            await self._flush_through(progress.flushing, await self._read(rest))
        return progress.flushing

    async def seal_slice(self) -> int:
        async with self._flushing_alone():
            if not await self._is_flushed():
                return 0
            sealed = await self._seal_oldest()
        if not sealed:
            await self._give_back_space()
        return sealed

    async def _is_flushed(self) -> bool:
        """Tell whether no flush will be made again: it would write chunks of what is sealed then.

        Forgets what is in chunks by a flush that was not told that it reached its end.
        """
        progress = await self._read(flushing.progress(self._dialect))
        if progress.flushing > progress.flushed:
            return False
        return self._recent.forget_through(progress.flushed)

    async def _seal_oldest(self) -> int:
        """Seal one slice; return how many readings left their chunks."""
        before_hour = self.seal_limits.before_hour(self._clock.now_us())
        finding = sealing.next_slice(self._dialect, self.seal_limits, before_hour=before_hour)
        listed = await self._read(finding)
        if not listed:
            return 0
        packed, around = await self._read(sealing.read_slice(self._dialect, listed))
        points = await asyncio.to_thread(lambda: in_key_order(chunks.unpack(packed)))
        merges = await asyncio.to_thread(sealing.plan, points, around)
        replaced = await self._read(sealing.read_replaced(self._dialect, merges))
        rows = await asyncio.to_thread(sealing.make_rows, merges, replaced)
        await self._write(sealing.write_slice(self._dialect, listed, merges, rows))
        return sum(row[4] for row in listed)

    async def _give_back_space(self) -> None:
        """Give some free space back to the disk, where the database does not do so itself."""
        return

    async def roll_up(self, *, before_us: int) -> bool:
        before = before_us // US_PER_HOUR
        # Without the lock first: there is rarely anything to do.
        if not await self._read(rollups.is_due(self._dialect, before)):
            return False
        async with self._flushing_alone():
            watermark = await self._read(rollups.watermark(self._dialect))
            if watermark < before:
                watermark = before
                await self._write(rollups.move_watermark(before))
            days = self.rollup_limits.days_per_slice
            marks = await self._read(rollups.marks_due(self._dialect, watermark, days=days))
            if marks:
                ids = sorted({mark.series_id for mark in marks})
                floors = await self._read(floors_of(self._dialect, ids))
                rows = await self._read_readings(
                    lambda _: rolling_up.recomputed(self._dialect, marks, watermark, floors)
                )
                await self._write(rollups.replace(self._dialect, rows, marks, watermark, floors))
            return bool(marks)

    async def expire_slice(
        self,
        series_ids: Sequence[int],
        *,
        raw_before_us: int | None,
        rollups_before_us: int | None,
    ) -> bool:
        """Delete up to 64 sealed chunks, 128 others, or the rollups of 256 days, of up to 64
        series.

        A series whose readings wait for a flush or for the rollups is passed over. Cost beside
        that: six searches a series, half of them where nothing is to be deleted.
        """
        if raw_before_us is not None:
            before_hour = raw_before_us // (DAY * US_PER_HOUR) * DAY
            if await self._expire_readings(series_ids, before_hour):
                return True
        if rollups_before_us is None:
            return False
        return await self._expire_rollups(series_ids, rollups_before_us // (DAY * US_PER_HOUR))

    async def _expire_readings(self, series_ids: Sequence[int], before_hour: int) -> bool:
        # Without the lock first: there is rarely anything to do.
        found = await self._ready_to_expire(series_ids, before_hour)
        if not found:
            return False
        async with self._flushing_alone():
            if not await self._is_flushed():
                return False
            own = await self._ready_to_expire(
                found[: self.expiry_limits.series_per_slice], before_hour
            )
            if own:
                reading = expiry.read_slice(self._dialect, self.expiry_limits, own, before_hour)
                removal = await asyncio.to_thread(
                    expiry.plan, self.expiry_limits, *await self._read(reading), before_hour
                )
                await self._write(expiry.write_slice(self._dialect, removal, before_hour))
        return True

    async def _ready_to_expire(self, series_ids: Sequence[int], before_hour: int) -> list[int]:
        return await self._read_readings(
            lambda parts: expiry.ready(self._dialect, parts, series_ids, before_hour)
        )

    async def _expire_rollups(self, series_ids: Sequence[int], before_day: int) -> bool:
        finding = expiry.days_of_rollups(self._dialect, self.expiry_limits, series_ids, before_day)
        days = await self._read(finding)
        if not days:
            return False
        async with self._flushing_alone():
            blocks = await self._read(expiry.read_day_blocks(self._dialect, days))
            kept, emptied = await asyncio.to_thread(expiry.without_days, blocks, days)
            await self._write(expiry.write_days(self._dialect, days, kept, emptied))
        return True

    async def delete_device(self, organization_id: str, device_id: str) -> None:
        """Delete in slices of a hundred hours of a series.

        After ``Busy`` a second call goes on where this one stopped.
        """
        found = deletion.series_of(self._dialect, organization_id, device_id)
        series_ids = await self._read(found)
        async with self._flushing_alone():
            # What is in chunks can be counted and deleted in one transaction.
            await self._flush_all()
            for series_id in series_ids:
                while await self._write(deletion.slice_of_readings(self._dialect, series_id)):
                    pass
            rest = deletion.rest_of_device(self._dialect, organization_id, device_id, series_ids)
            await self._write(rest)
