"""Checks of what the telemetry store holds."""

import asyncio
from dataclasses import dataclass

from fieldstation.adapters.diagnosis.report import Check, ok, warning
from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import ReadingStore
from fieldstation.domains.telemetry.summaries import StoreSizes, StoreTotals

SIZES_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the store holds; ``sizes`` is None where measuring them took too long."""

    totals: StoreTotals
    sizes: StoreSizes | None


async def look_into(
    store: ReadingStore, *, sizes_timeout_s: float = SIZES_TIMEOUT_S
) -> Holdings | Busy:
    """Ask a store that nobody opens for writing, and close it."""
    try:
        await store.open_beside()
        totals = await store.totals()
        try:
            async with asyncio.timeout(sizes_timeout_s):
                return Holdings(totals, await store.sizes())
        except TimeoutError:
            return Holdings(totals, None)
    except Busy as error:
        return error
    finally:
        await store.close()


def check_readings(found: Holdings | Busy) -> list[Check]:
    """Say how many readings there are and what each takes, whole and in each form."""
    if isinstance(found, Busy):
        return [warning("readings", found.detail, "Try again; see the checks of the database.")]
    totals = found.totals
    if totals.readings <= 0:
        return [ok("readings", "None yet")]
    size = totals.bytes_on_disk / totals.readings
    whole = f"{totals.readings:,} in {totals.series:,} series, {size:,.1f} bytes on disk for each"
    if found.sizes is None:
        return [ok("readings", f"{whole}; measuring their forms took too long")]
    return [ok("readings", whole), *describe_forms(found.sizes, totals.readings)]


def describe_forms(sizes: StoreSizes, readings: int) -> list[Check]:
    """Tell sealed readings from hot ones: in chunks, or in the intake log alone."""
    waiting = max(0, readings - sizes.sealed_readings - sizes.chunk_readings)
    hot = sizes.chunk_readings + waiting
    packed = f", {per_reading(sizes.chunk_bytes, sizes.chunk_readings)} in chunks"
    return [
        ok(
            "sealed readings",
            f"{sizes.sealed_readings / readings:.1%} of all,"
            f" {per_reading(sizes.sealed_bytes, sizes.sealed_readings)}",
        ),
        ok("hot readings", f"{hot / readings:.1%} of all{packed}; {waiting:,} still in the log"),
        ok(
            "rollups",
            f"{sizes.rollup_bytes:,} bytes, {per_reading(sizes.rollup_bytes, readings)}",
        ),
    ]


def per_reading(size_bytes: int, readings: int) -> str:
    return f"{size_bytes / readings if readings else 0:,.2f} bytes for each"
