"""The reading store in terms of steps: what does not depend on the database."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from fieldstation.core.clock import Clock
from fieldstation.domains.telemetry.ports import (
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
    deletion,
    intake_log,
    last_values,
    pages,
    refusals,
    series,
    totals,
)
from fieldstation.domains.telemetry.store.dialect import Dialect
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

    @abstractmethod
    async def _read(self, steps: Steps[Result]) -> Result:
        """Run steps that change nothing; raise ``Busy``."""

    @abstractmethod
    async def _write(self, steps: Steps[Result]) -> Result:
        """Run steps in one durable transaction; raise ``Busy``."""

    @abstractmethod
    async def _bytes_beside(self) -> int:
        """Return what the database keeps on the disk beside its tables."""

    async def resolve_series(self, keys: Sequence[SeriesKey]) -> list[SeriesRow]:
        found = await self._read(series.by_keys(self._dialect, set(keys)))
        missing = [key for key in keys if key not in found]
        if missing:
            now_us = self._clock.now_us()
            await self._write(series.create(missing, now_us=now_us))
            found |= await self._read(series.by_keys(self._dialect, set(missing)))
        return [found[key] for key in keys]

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
        only_anomalies: bool = False,
    ) -> Columns:
        steps = pages.page(
            self._dialect,
            series,
            start_us=start_us,
            end_us=end_us,
            order=order,
            limit=limit,
            after=after,
            only_anomalies=only_anomalies,
        )
        return await self._read(steps)

    async def buckets(
        self, series: Sequence[SeriesRow], *, start_us: int, end_us: int, interval_us: int
    ) -> list[Bucket]:
        steps = aggregates.buckets(
            self._dialect, series, start_us=start_us, end_us=end_us, interval_us=interval_us
        )
        return await self._read(steps)

    async def stats(
        self, series: Sequence[SeriesRow], *, start_us: int, end_us: int
    ) -> list[SeriesStats]:
        steps = aggregates.stats(self._dialect, series, start_us=start_us, end_us=end_us)
        return await self._read(steps)

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
        self, cursor: Mapping[str, int], *, batches_max: int = 256
    ) -> list[LoggedBatch]:
        steps = intake_log.batches_after(self._dialect, cursor, batches_max=batches_max)
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

    async def trim_refusals(self, *, keep_per_device: int) -> int:
        return await self._write(refusals.trim(self._dialect, keep_per_device=keep_per_device))

    async def delete_device(self, organization_id: str, device_id: str) -> None:
        """Delete in slices of six hours of a series.

        After ``Busy`` a second call goes on where this one stopped.
        """
        found = deletion.series_of(self._dialect, organization_id, device_id)
        series_ids = await self._read(found)
        for series_id in series_ids:
            while await self._write(deletion.slice_of_readings(self._dialect, series_id)):
                pass
        rest = deletion.rest_of_device(self._dialect, organization_id, device_id, series_ids)
        await self._write(rest)

    async def totals(self) -> StoreTotals:
        beside = await self._bytes_beside()
        found = await self._read(totals.totals(self._dialect))
        return replace(found, bytes_on_disk=found.bytes_on_disk + beside)
