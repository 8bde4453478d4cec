"""Turns stored buckets into what a chart asked for: chosen aggregates, gaps filled."""

import math
import re
from collections.abc import Sequence
from typing import Any

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.core.errors import Invalid
from fieldstation.domains.telemetry.ports import SeriesRow
from fieldstation.domains.telemetry.schemas import Aggregate, Fill
from fieldstation.domains.telemetry.summaries import Bucket

INTERVAL = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d|w)")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
BUCKETS_MAX = 100_000


def parse_interval(text: str) -> int:
    """Return an interval such as ``5m`` in microseconds. Raises ``Invalid``."""
    match = INTERVAL.fullmatch(text)
    if match is None:
        raise invalid("interval", "use a number and s, m, h, d or w, such as 5m")
    return int(match[1]) * SECONDS[match[2]] * 1_000_000


def parse_aggregates(text: str) -> list[Aggregate]:
    """Return the aggregates of a list such as ``avg,max``. Raises ``Invalid``."""
    try:
        return [Aggregate(name.strip()) for name in text.split(",")]
    except ValueError:
        raise invalid("aggregate", f"choose from {', '.join(Aggregate)}") from None


def check_bucket_count(*, start_us: int, end_us: int, interval_us: int, series: int) -> None:
    """Refuse answers nobody can read. Raises ``Invalid``."""
    count = ((end_us - start_us) // interval_us + 1) * max(series, 1)
    if count > BUCKETS_MAX:
        raise invalid(
            "interval", f"that makes {count} buckets, more than {BUCKETS_MAX}; take a longer one"
        )


def invalid(name: str, message: str) -> Invalid:
    return Invalid(
        f"{name}: {message}.",
        errors=[{"loc": ["query", name], "msg": message, "type": "value_error"}],
    )


def bucket_rows(
    buckets: Sequence[Bucket],
    series: Sequence[SeriesRow],
    *,
    aggregates: Sequence[Aggregate],
    fill: Fill,
    interval_us: int,
) -> list[dict[str, Any]]:
    """Return one row a bucket, by series and time; gaps are filled between a series' first and last
    bucket."""
    rows: list[dict[str, Any]] = []
    by_series: dict[int, list[Bucket]] = {}
    for bucket in buckets:
        by_series.setdefault(bucket.series_id, []).append(bucket)
    for row in series:
        previous: Bucket | None = None
        for bucket in by_series.get(row.id, ()):
            if previous is not None and fill is not Fill.NONE:
                rows.extend(
                    gap_rows(
                        previous,
                        bucket,
                        row,
                        aggregates=aggregates,
                        fill=fill,
                        interval_us=interval_us,
                    )
                )
            rows.append(labelled(row, bucket.start_us, values_of(bucket, aggregates)))
            previous = bucket
    return rows


def gap_rows(
    before: Bucket,
    behind: Bucket,
    row: SeriesRow,
    *,
    aggregates: Sequence[Aggregate],
    fill: Fill,
    interval_us: int,
) -> list[dict[str, Any]]:
    left, right = values_of(before, aggregates), values_of(behind, aggregates)
    span = behind.start_us - before.start_us
    rows = []
    for start_us in range(before.start_us + interval_us, behind.start_us, interval_us):
        share = (start_us - before.start_us) / span
        values = {name: filled(name, left[name], right[name], share, fill) for name in left}
        rows.append(labelled(row, start_us, values))
    return rows


def filled(name: str, left: float, right: float, share: float, fill: Fill) -> float | None:
    """Return what stands in a gap; a count is zero there, whatever the fill."""
    if name == Aggregate.COUNT:
        return 0
    if fill is Fill.NULL:
        return None
    return left if fill is Fill.PREVIOUS else left + (right - left) * share


def labelled(row: SeriesRow, start_us: int, values: dict[str, Any]) -> dict[str, Any]:
    return {
        "start": us_to_rfc3339(start_us),
        "device_id": row.key.device_id,
        "sensor_type": row.key.sensor_type,
        "sensor_id": row.key.sensor_id,
        **values,
    }


def values_of(bucket: Bucket, aggregates: Sequence[Aggregate]) -> dict[str, float]:
    mean = bucket.total / bucket.count
    everything: dict[str, float] = {
        Aggregate.AVG: mean,
        Aggregate.MIN: bucket.minimum,
        Aggregate.MAX: bucket.maximum,
        Aggregate.SUM: bucket.total,
        Aggregate.COUNT: bucket.count,
        Aggregate.FIRST: bucket.first,
        Aggregate.LAST: bucket.last,
        Aggregate.STDDEV: math.sqrt(bucket.deviations / bucket.count),
    }
    return {str(name): everything[name] for name in aggregates}
