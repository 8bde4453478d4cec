"""How much series take: the part of the ``ReadingStore`` port that measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fieldstation.domains.telemetry.summaries import StoreSizes, StoreTotals


@dataclass(frozen=True, slots=True)
class SeriesSizes:
    """What series hold: how many of them hold anything, their readings, the bytes of readings and
    of rollups, and the instants of the oldest of each."""

    series: int
    readings: int
    raw_bytes: int
    rollup_bytes: int
    oldest_us: int | None = None
    oldest_rollup_us: int | None = None


class MeasuredStore(Protocol):
    """Keeps readings so that they can be measured."""

    async def sizes_of(
        self,
        series_ids: Sequence[int],
        *,
        raw_before_us: int | None,
        rollups_before_us: int | None,
    ) -> SeriesSizes:
        """Add up what series hold from before the instants (None: all), about to the hour.

        Readings that came within the last minutes do not count yet. Cost: the keys of all that is
        stored of these series. Raises ``Busy``.
        """
        ...

    async def totals(self) -> StoreTotals:
        """Return sizes for the system pages; may be a few seconds old."""
        ...

    async def sizes(self) -> StoreSizes:
        """Measure each form of readings; takes seconds where there are very many."""
        ...

    async def description(self) -> str:
        """Return what keeps the readings, such as ``PostgreSQL 15.4 with TimescaleDB 2.11.2``."""
        ...
