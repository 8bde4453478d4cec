"""Telemetry's background work: sealing readings that lie back."""

import asyncio

import structlog

from fieldstation.core.clock import Clock
from fieldstation.domains.telemetry.ports import ReadingStore

log = structlog.get_logger(__name__)

SEAL_INTERVAL_S = 10.0
SEAL_RUN_S = 5.0


class Sealing:
    """Seals what lies back, slice by slice, half of the time at most: the other half is left to the
    intake. ``readings`` counts what this node sealed since its start.
    """

    def __init__(self, store: ReadingStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.readings = 0

    async def run(self) -> None:
        """Seal for five seconds or until nothing is due; the next run goes on from there."""
        began_s = slice_began_s = self._clock.monotonic()
        readings = slices = 0
        while moved := await self._store.seal_slice():
            readings, slices = readings + moved, slices + 1
            self.readings += moved
            now_s = self._clock.monotonic()
            if now_s - began_s >= SEAL_RUN_S:
                break
            await asyncio.sleep(now_s - slice_began_s)
            slice_began_s = self._clock.monotonic()
        if readings:
            elapsed_ms = round(1_000 * (self._clock.monotonic() - began_s))
            log.info("readings_sealed", readings=readings, slices=slices, elapsed_ms=elapsed_ms)
