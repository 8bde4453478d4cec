"""Telemetry's background work: sealing readings that lie back, rollups, the log's length."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from fieldstation.core.clock import Clock, instant_to_us
from fieldstation.core.settings import TelemetrySettings
from fieldstation.domains.telemetry.ports import ReadingStore

log = structlog.get_logger(__name__)

SEAL_INTERVAL_S = 10.0
SEAL_RUN_S = 5.0
ROLL_UP_INTERVAL_S = 5.0
ROLL_UP_RUN_S = 2.0
# Hours are rolled up once this has passed since their end; later readings have them computed anew.
ROLL_UP_DELAY_US = 3_600 * 1_000_000


class Sealing:
    """Seals what lies back, slice by slice, half of the time at most: the other half is left to the
    intake. ``readings`` counts what this node sealed since its start.
    """

    def __init__(self, seal_slice: Callable[[], Awaitable[int]], clock: Clock) -> None:
        self._seal_slice = seal_slice
        self._clock = clock
        self.readings = 0

    async def run(self) -> None:
        """Seal for five seconds or until nothing is due; the next run goes on from there."""
        began_s = slice_began_s = self._clock.monotonic()
        readings = slices = 0
        while moved := await self._seal_slice():
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


async def roll_up_due(store: ReadingStore, clock: Clock) -> None:
    """Bring rollups up to date for a while; the other jobs wait meanwhile."""
    until_s = clock.monotonic() + ROLL_UP_RUN_S
    before_us = clock.now_us() - ROLL_UP_DELAY_US
    while await store.roll_up(before_us=before_us) and clock.monotonic() < until_s:
        pass


async def trim(store: ReadingStore, clock: Clock, settings: TelemetrySettings) -> None:
    """Delete old entries of the intake log, and a device's refusals beyond their number."""
    before = clock.now() - timedelta(hours=settings.log_keep_hours)
    while await store.trim_log(before_us=instant_to_us(before)):
        pass
    await store.trim_refusals(keep_per_device=settings.refusals_per_device_max)
