"""The reading store in terms of steps: what is asked of it, whatever the database."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from fieldstation.domains.telemetry.exchanges import Exchange
from fieldstation.domains.telemetry.ports import (
    Appended,
    Columns,
    LastValue,
    LoggedBatch,
    Order,
    PageKey,
    Refusal,
    SeriesKey,
    SeriesRow,
    Variant,
)
from fieldstation.domains.telemetry.sizing import SeriesSizes
from fieldstation.domains.telemetry.store import (
    aggregates,
    exchanges,
    flushing,
    intake_log,
    last_values,
    pages,
    refusals,
    series,
    shapes,
    sizes,
    totals,
)
from fieldstation.domains.telemetry.store.recording import Batch, catch_up
from fieldstation.domains.telemetry.store.upkeep import KeptStore
from fieldstation.domains.telemetry.summaries import (
    Bucket,
    SeriesStats,
    Shape,
    StoreSizes,
    StoreTotals,
)


class SteppedStore(KeptStore):
    """What the stores on all databases share; they open, close and append themselves."""

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
                self._dialect,
                parts,
                series,
                start_us=start_us,
                end_us=end_us,
                anomaly=anomaly,
                exact_readings_max=self.rollup_limits.exact_readings_max,
            )
        )

    async def shapes(
        self,
        series: Sequence[SeriesRow],
        *,
        start_us: int,
        end_us: int,
        points_max: int,
        anomaly: bool | None = None,
    ) -> list[Shape]:
        return await self._read_readings(
            lambda parts: shapes.shapes(
                self._dialect,
                parts,
                series,
                start_us=start_us,
                end_us=end_us,
                points_max=points_max,
                anomaly=anomaly,
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

    async def sizes_of(
        self,
        series_ids: Sequence[int],
        *,
        raw_before_us: int | None,
        rollups_before_us: int | None,
    ) -> SeriesSizes:
        steps = sizes.sizes(
            self._dialect,
            series_ids,
            raw_before_us=raw_before_us,
            rollups_before_us=rollups_before_us,
            now_us=self._clock.now_us(),
        )
        return await self._read(steps)

    async def open_beside(self) -> None:
        done = await self._read(flushing.progress(self._dialect))
        self._recent.begin_at(done.flushed)
        await self._read(catch_up(self._dialect, self._recent))

    async def sizes(self) -> StoreSizes:
        return await self._read(totals.sizes())

    async def description(self) -> str:
        return await self._read(totals.description(self._dialect))

    async def totals(self) -> StoreTotals:
        beside = await self._bytes_beside()
        found = await self._read_readings(lambda parts: totals.totals(self._dialect, parts))
        return replace(found, bytes_on_disk=found.bytes_on_disk + beside)
