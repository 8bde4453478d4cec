"""The part of a store that sums readings up, and keeps the rollups that spare reading them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from fieldstation.domains.telemetry.ports import SeriesRow
from fieldstation.domains.telemetry.store import aggregates, rolling_up, rollups, shapes
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.steps import Steps
from fieldstation.domains.telemetry.summaries import Bucket, SeriesStats, Shape

Result = TypeVar("Result")


class SummingStore(ABC):
    """What ``SteppedStore`` gets from here; it says how steps run."""

    _dialect: Dialect
    rollup_limits = rollups.RollupLimits()

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
    def _flushing_alone(self) -> AbstractAsyncContextManager[None]:
        """Keep flushes, deletions and whatever else changes what is stored apart."""

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
            limit = self.rollup_limits.marks_per_slice
            marks = await self._read(rollups.marks_due(self._dialect, watermark, limit=limit))
            if marks:
                rows = await self._read_readings(
                    lambda _: rolling_up.recomputed(self._dialect, marks, watermark)
                )
                await self._write(rollups.replace(self._dialect, rows, marks, watermark))
            return len(marks) == limit
