"""How a stored reading looks to clients: one struct, encoded straight to JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.domains.telemetry.ports import (
    FLAG_ANOMALY,
    KIND_MASK,
    VARIANT_SHIFT,
    Columns,
    Detail,
    Kind,
    SeriesKey,
    SeriesRow,
    Variant,
)

NO_DETAIL = Detail()


class Rendered(msgspec.Struct, gc=False):
    """The fields of a stored reading, as in the API contract."""

    id: str
    timestamp: str
    device_id: str
    sensor_type: str
    sensor_id: str
    value: float | bool | str
    unit: str | None
    origin: str | None
    source_protocol: str
    anomaly: bool
    anomaly_score: float | None
    metadata: msgspec.Raw | None


def render(
    series_id: int,
    key: SeriesKey,
    variant: Variant,
    *,
    ts_us: int,
    value: float,
    flags: int,
    detail: Detail = NO_DETAIL,
) -> Rendered:
    """Render one reading."""
    metadata = detail.metadata
    return Rendered(
        id=f"{series_id:x}-{ts_us:x}",
        timestamp=us_to_rfc3339(ts_us),
        device_id=key.device_id,
        sensor_type=key.sensor_type,
        sensor_id=key.sensor_id,
        value=plain_value(value, flags, detail.text),
        unit=variant.unit,
        origin=variant.origin,
        source_protocol=variant.source_protocol,
        anomaly=flags & FLAG_ANOMALY != 0,
        anomaly_score=detail.score,
        metadata=None if metadata is None else msgspec.Raw(metadata),
    )


def plain_value(value: float, flags: int, text: str | None) -> float | bool | str:
    """Return the value as the device sent it."""
    kind = flags & KIND_MASK
    if kind == Kind.NUMBER:
        return value
    return bool(value) if kind == Kind.BOOLEAN else text or ""


def render_columns(columns: Columns, series: Mapping[int, SeriesRow]) -> Iterator[Rendered]:
    """Render a page whose series are known."""
    for position, series_id in enumerate(columns.series_id):
        row = series[series_id]
        flags = columns.flags[position]
        yield render(
            series_id,
            row.key,
            row.variants[flags >> VARIANT_SHIFT],
            ts_us=columns.ts_us[position],
            value=columns.value[position],
            flags=flags,
            detail=columns.details.get(position, NO_DETAIL),
        )


def encode(content: Any) -> bytes:
    """Encode an answer as JSON."""
    return msgspec.json.encode(content)
