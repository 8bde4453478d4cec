"""The reading store in terms of steps: what does not depend on the database."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from fieldstation.core.clock import Clock
from fieldstation.domains.telemetry.exchanges import Exchange
from fieldstation.domains.telemetry.ports import (
    Appended,
    Bucket,
    Columns,
    LastValue,
    LoggedBatch,
    Order,
    PageKey,
    Refusal,
    SeriesKey,
    SeriesRow,
    SeriesStats,
    StoreTotals,
    Variant,
)
from fieldstation.domains.telemetry.store import (
    aggregates,
    chunks,
    deletion,
    exchanges,
    flushing,
    intake_log,
    last_values,
    pages,
    refusals,
    sealing,
    series,
    totals,
)
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.points import Points, in_key_order
from fieldstation.domains.telemetry.store.recent import Part, Recent
from fieldstation.domains.telemetry.store.recording import Batch
from fieldstation.domains.telemetry.store.steps import Steps

Result = TypeVar("Result")


class SteppedStore(ABC):
    """What ``SqliteReadingStore`` and ``PostgresqlReadingStore`` share.

    They open, close and append themselves.
    """

    def __init__(self, *, dialect: Dialect, node_id: str, clock: Clock) -> None:
        self._dialect = dialect
        self._node_id = node_id
        self._clock = clock
        self.flush_limits = flushing.FlushLimits()
        self.seal_limits = sealing.SealLimits()
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

    async def resolve_series(self, keys: Sequence[SeriesKey]) -> list[SeriesRow]:
        found = await self._read_readings(
            lambda parts: series.by_keys(self._dialect, parts, set(keys))
        )
        missing = [key for key in keys if key not in found]
        if missing:
            await self._write(series.create(missing, now_us=self._clock.now_us()))
            found |= await self._read_readings(
                lambda parts: series.by_keys(self._dialect, parts, set(missing))
            )
        return [found[key] for key in keys]

    async def append(
        self,
        readings: Columns,
        *,
        refusals: Sequence[Refusal] = (),
        begun: Sequence[Exchange] = (),
        ended: Sequence[Exchange] = (),
    ) -> Appended:
        if len(self._recent) >= self.flush_limits.recent_readings_max:
            await self.flush()
        return await self._append(Batch(readings, refusals, begun, ended))

    async def resolve_variants(self, wanted: Sequence[tuple[int, Variant]]) -> list[int]:
        return await self._write(series.number_variants(self._dialect, wanted))

    async def find_series(
        self,
        organization_id: str,
        *,
        device_ids: Sequence[str] | None = None,
        sensor_types: Sequence[str] | None = None,
        sensor_ids: Sequence[str] | None = None,
    ) -> list[SeriesRow]:
        steps = series.by_filter(
            self._dialect,
            organization_id,
            device_ids=device_ids,
            sensor_types=sensor_types,
            sensor_ids=sensor_ids,
        )
        return await self._read(steps)

    async def series_by_id(self, series_ids: Sequence[int]) -> list[SeriesRow]:
        return await self._read(series.by_ids(self._dialect, series_ids))

    async def page(
        self,
        series: Sequence[SeriesRow],
        *,
        start_us: int,
        end_us: int,
        order: Order,
        limit: int,
        after: PageKey | None = None,
        anomaly: bool | None = None,
    ) -> Columns:
        return await self._read_readings(
            lambda parts: pages.page(
                self._dialect,
                parts,
                series,
                start_us=start_us,
                end_us=end_us,
                order=order,
                limit=limit,
                after=after,
                anomaly=anomaly,
            )
        )

    async def buckets(
        self,
        series: Sequence[SeriesRow],
        *,
        start_us: int,
        end_us: int,
        interval_us: int,
        anomaly: bool | None = None,
    ) -> list[Bucket]:
        return await self._read_readings(
            lambda parts: aggregates.buckets(
                self._dialect,
                parts,
                series,
                start_us=start_us,
                end_us=end_us,
                interval_us=interval_us,
                anomaly=anomaly,
            )
        )

    async def stats(
        self,
        series: Sequence[SeriesRow],
        *,
        start_us: int,
        end_us: int,
        anomaly: bool | None = None,
    ) -> list[SeriesStats]:
        return await self._read_readings(
            lambda parts: aggregates.stats(
                self._dialect, parts, series, start_us=start_us, end_us=end_us, anomaly=anomaly
            )
        )

    async def stream(
        self, series: Sequence[SeriesRow], *, start_us: int, end_us: int, rows_max: int = 10_000
    ) -> AsyncIterator[Columns]:
        after: PageKey | None = None
        while True:
            block = await self.page(
                series,
                start_us=start_us,
                end_us=end_us,
                order=Order.OLDEST_FIRST,
                limit=rows_max,
                after=after,
            )
            if len(block):
                yield block
            if len(block) < rows_max:
                return
            after = PageKey(block.ts_us[-1], block.series_id[-1])

    async def load_last_values(self) -> tuple[list[LastValue], Mapping[str, int]]:
        return await self._read(last_values.load())

    async def save_last_values(self, values: Sequence[LastValue], *, seq: int) -> None:
        await self._write(last_values.save(values, node_id=self._node_id, seq=seq))

    async def batches_after(
        self,
        cursor: Mapping[str, int],
        *,
        batches_max: int = 256,
        until: Mapping[str, int] | None = None,
    ) -> list[LoggedBatch]:
        steps = intake_log.batches_after(
            self._dialect, cursor, batches_max=batches_max, until=until
        )
        return await self._read(steps)

    async def log_bounds(self) -> dict[str, tuple[int, int]]:
        return await self._read(intake_log.bounds(self._dialect))

    async def trim_log(self, *, before_us: int, batches_max: int = 1_000) -> int:
        steps = intake_log.trim(self._dialect, before_us=before_us, batches_max=batches_max)
        return await self._write(steps)

    async def refusals(
        self, organization_id: str, device_id: str, *, limit: int, before_id: str | None = None
    ) -> list[Refusal]:
        steps = refusals.newest(
            self._dialect, organization_id, device_id, limit=limit, before_id=before_id
        )
        return await self._read(steps)

    async def exchanges(self, client: tuple[str, str] | None = None) -> list[Exchange]:
        return await self._read(exchanges.of_client(self._dialect, client))

    async def forget_exchanges(self, sessions: Sequence[tuple[str, str, int]]) -> None:
        await self._write(exchanges.forget(self._dialect, sessions))

    async def count_refusals(self, organization_id: str, device_id: str) -> int:
        return await self._read(refusals.count(self._dialect, organization_id, device_id))

    async def trim_refusals(self, *, keep_per_device: int) -> int:
        return await self._write(refusals.trim(self._dialect, keep_per_device=keep_per_device))

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

    async def totals(self) -> StoreTotals:
        beside = await self._bytes_beside()
        found = await self._read_readings(lambda parts: totals.totals(self._dialect, parts))
        return replace(found, bytes_on_disk=found.bytes_on_disk + beside)
