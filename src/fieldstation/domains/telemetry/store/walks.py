"""Going over the numeric readings of a period in blocks of hours that fit into memory."""

from collections.abc import Sequence

from fieldstation.domains.telemetry.ports import KIND_MASK, Kind
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.gathering import gather, hours_with_readings
from fieldstation.domains.telemetry.store.points import Points, flagged
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.steps import Steps

SERIES_PER_WALK = 100
BLOCK_READINGS = 500_000
BLOCK_HOURS_MAX = 24 * 31


class Walk:
    """The numeric readings of some series in a period, in blocks of ascending hours."""

    def __init__(
        self, series_ids: Sequence[int], start_us: int, end_us: int, *, anomaly: bool | None
    ) -> None:
        self._series_ids = series_ids
        self._anomaly = anomaly
        self._start_us = start_us
        self._end_us = end_us
        self._hours: list[int] | None = None if start_us < end_us else []
        self._hours_per_block = 1

    def next_block(self, dialect: Dialect, parts: Sequence[Part]) -> Steps[Points | None]:
        """Return the next readings in key order, without texts; None behind the last."""
        ids = self._series_ids
        if self._hours is None:
            self._hours = yield from hours_with_readings(
                dialect, parts, ids, start_us=self._start_us, end_us=self._end_us
            )
        while self._hours:
            first = self._hours[0]
            taken = [hour for hour in self._hours if hour < first + self._hours_per_block]
            self._hours = self._hours[len(taken) :]
            points = yield from gather(
                dialect,
                parts,
                ids,
                start_us=max(self._start_us, first * US_PER_HOUR),
                end_us=min(self._end_us, (taken[-1] + 1) * US_PER_HOUR),
            )
            self._fit(len(points))
            points = points.take((points.flags & KIND_MASK) != Kind.TEXT)
            if self._anomaly is not None:
                points = flagged(points, anomaly=self._anomaly)
            if len(points):
                return points
        return None

    def _fit(self, readings: int) -> None:
        """Take more hours at a time while they hold few readings, fewer when they hold many."""
        if readings < BLOCK_READINGS // 2:
            longer = 4 if readings < BLOCK_READINGS // 8 else 2
            self._hours_per_block = min(self._hours_per_block * longer, BLOCK_HOURS_MAX)
        elif readings > BLOCK_READINGS:
            self._hours_per_block = max(1, self._hours_per_block // 2)
