"""Readings for the contract suites, built from what a test cares about."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fieldstation.domains.telemetry.ports import (
    FLAG_DETAIL,
    Columns,
    Detail,
    Kind,
    Order,
    ReadingStore,
    Refusal,
    SeriesKey,
    SeriesRow,
)

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
NOON_US = 1_795_262_400 * SECOND_US
FOREVER = {"start_us": 0, "end_us": 1 << 53}


class Given(NamedTuple):
    """One reading; a text makes it a text reading."""

    series_id: int
    ts_us: int
    value: float = 0.0
    text: str | None = None
    flags: int = 0
    metadata: bytes | None = None
    score: float | None = None


def columns(rows: Iterable[Given]) -> Columns:
    built = Columns()
    for at, row in enumerate(rows):
        kind = Kind.NUMBER if row.text is None else Kind.TEXT
        built.series_id.append(row.series_id)
        built.ts_us.append(row.ts_us)
        built.value.append(row.value)
        built.flags.append(row.flags | kind)
        if (row.text, row.metadata, row.score) != (None, None, None):
            built.details[at] = Detail(row.text, row.metadata, row.score)
    return built


def rows_of(readings: Columns) -> list[Given]:
    """Return the readings as stored, without the bits that the store adds or the kind implies."""
    nothing = Detail()
    return [
        Given(
            series_id=readings.series_id[at],
            ts_us=readings.ts_us[at],
            value=readings.value[at],
            text=readings.details.get(at, nothing).text,
            flags=readings.flags[at] & ~(FLAG_DETAIL | 0b11),
            metadata=readings.details.get(at, nothing).metadata,
            score=readings.details.get(at, nothing).score,
        )
        for at in range(len(readings))
    ]


async def make_series(
    store: ReadingStore, count: int, *, organization_id: str = "org", device_id: str = "device"
) -> list[SeriesRow]:
    keys = [
        SeriesKey(organization_id, device_id, "temperature", f"sensor-{number}")
        for number in range(count)
    ]
    return await store.resolve_series(keys)


async def append(store: ReadingStore, rows: Iterable[Given]) -> bytes | None:
    return (await store.append(columns(rows))).outcomes


async def everything(store: ReadingStore, series: Sequence[SeriesRow]) -> list[Given]:
    """Return all readings of the series, oldest first."""
    found = await store.page(series, **FOREVER, order=Order.OLDEST_FIRST, limit=1_000_000)
    return rows_of(found)


def make_refusal(number: int, *, device_id: str = "device") -> Refusal:
    return Refusal(
        id=f"{number:036}",
        organization_id="org",
        device_id=device_id,
        received_us=NOON_US + number,
        topic="devices/device/telemetry",
        payload=b"{\xff not json",
        error="malformed",
        detail="The payload is not JSON.",
    )
