"""Checks of what the telemetry store holds."""

from fieldstation.adapters.diagnosis.report import Check, ok, warning
from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import ReadingStore, StoreTotals


async def read_totals(store: ReadingStore) -> StoreTotals | Busy:
    """Ask a store that nobody opens for writing, and close it."""
    try:
        return await store.totals()
    except Busy as error:
        return error
    finally:
        await store.close()


def check_readings(totals: StoreTotals | Busy) -> Check:
    if isinstance(totals, Busy):
        return warning("readings", totals.detail, "Try again; see the checks of the database.")
    if totals.readings <= 0:
        return ok("readings", "None yet")
    size = totals.bytes_on_disk / totals.readings
    return ok(
        "readings",
        f"{totals.readings:,} in {totals.series:,} series, {size:,.1f} bytes on disk for each",
    )
