"""Tells this node's consumers what other nodes commit, from the intake log that all share."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing

import structlog

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import (
    VARIANT_SHIFT,
    LoggedBatch,
    ReadingStore,
    SeriesKey,
    SeriesRow,
)
from fieldstation.domains.telemetry.writer import Committed

log = structlog.get_logger(__name__)

RETRY_DELAY_S = 0.5
SERIES_MAX = 200_000
GONE = SeriesRow(0, SeriesKey("", "", "", ""), ())


class Follower:
    """Goes through the log once, from where the consumers stand; late rather than never."""

    def __init__(
        self, store: ReadingStore, consumers: Sequence[Callable[[Committed], None]]
    ) -> None:
        self._store = store
        self._consumers = consumers
        self._positions: dict[str, int] = {}
        self._series: dict[int, SeriesRow] = {}

    def begin_at(self, positions: Mapping[str, int]) -> None:
        """Say up to where the consumers know the log."""
        self._positions = dict(positions)

    def forget(self, device_id: str) -> None:
        """Drop what is remembered of a deleted device."""
        self._series = {
            series_id: row
            for series_id, row in self._series.items()
            if row.key.device_id != device_id
        }

    async def run_forever(self) -> None:
        """Follow until cancelled; a database that is away only delays it."""
        while True:
            try:
                async with aclosing(self._store.follow_others(self._positions)) as commits:
                    async for batches in commits:
                        for batch in batches:
                            await self._tell(batch)
            except Busy as error:
                log.warning("following_delayed", reason=error.detail)
            await asyncio.sleep(RETRY_DELAY_S)

    async def _tell(self, batch: LoggedBatch) -> None:
        readings = batch.readings
        await self._learn_series(readings.series_id, readings.flags)
        series = [self._series.get(series_id, GONE) for series_id in readings.series_id]
        kept = None
        if GONE in series:  # a device was deleted meanwhile
            kept = [position for position, row in enumerate(series) if row is not GONE]
        committed = Committed(batch.node_id, batch.seq, batch.committed_us, series, readings, kept)
        for consume in self._consumers:
            consume(committed)
        self._positions[batch.node_id] = batch.seq

    async def _learn_series(self, series_ids: Sequence[int], flags: Collection[int]) -> None:
        """Read the series that are new here or have a label that is. Raises ``Busy``."""
        known = self._series
        unknown = {
            series_id
            for series_id, flag in set(zip(series_ids, flags, strict=True))
            if series_id not in known or flag >> VARIANT_SHIFT >= len(known[series_id].variants)
        }
        if not unknown:
            return
        if len(known) + len(unknown) > SERIES_MAX:
            known.clear()
            unknown = set(series_ids)
        for row in await self._store.series_by_id(sorted(unknown)):
            known[row.id] = row
