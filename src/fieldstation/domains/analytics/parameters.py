"""What a question about trends takes: the metric, the period, the grouping."""

import re
from typing import Annotated

from fastapi import Depends, Query

from fieldstation.domains.analytics.schemas import GroupBy, TrendAggregate, TrendRange
from fieldstation.domains.analytics.service import TrendRequest
from fieldstation.domains.analytics.trends import US_PER_DAY, Period
from fieldstation.domains.telemetry.bucketing import invalid, parse_interval
from fieldstation.domains.telemetry.parameters import DeviceNames, Instant, Names, SensorIds
from fieldstation.domains.telemetry.service import ReadingFilter, read_time
from fieldstation.web.dependencies import TheClock

DAYS = {
    TrendRange.DAY: 1,
    TrendRange.WEEK: 7,
    TrendRange.MONTH: 30,
    TrendRange.QUARTER: 90,
    TrendRange.YEAR: 365,
}
WHOLE_HOURS = re.compile(r"[1-9][0-9]{0,5}(h|d|w)")
HOURLY_DAYS_MAX = 2
"""Buckets of periods up to here are hours, unless something else is asked for."""


async def trend_request(
    *,
    clock: TheClock,
    metric: Annotated[
        Names,
        Query(
            description="Only this sensor type; repeatable, each makes trends of its own.",
            examples=[["temperature"]],
        ),
    ] = None,
    interval: Annotated[
        str | None,
        Query(
            max_length=10,
            description="How long a bucket is: `1h`, `6h`, `1d`, `1w`. Without it an hour in"
            f" periods of up to {HOURLY_DAYS_MAX} days, else a day. Buckets are aligned to"
            " 1970-01-01 UTC, so weeks begin on Thursdays.",
            examples=["1d"],
            json_schema_extra={"pattern": f"^{WHOLE_HOURS.pattern}$"},
        ),
    ] = None,
    time_range: Annotated[
        TrendRange | None,
        Query(
            alias="range",
            description="How far the period reaches back from `end`: 7 days if not said; not"
            " together with `start`.",
            examples=["30d"],
        ),
    ] = None,
    start: Instant = None,
    end: Instant = None,
    group_by: Annotated[
        GroupBy,
        Query(
            description="What makes one trend: the series of one device, of all devices with one"
            " tag (a device with several tags is in several trends, one without in none), or all"
            " of a type.",
        ),
    ] = GroupBy.DEVICE,
    aggregate: Annotated[
        TrendAggregate, Query(description="What the readings of a bucket come to.")
    ] = TrendAggregate.AVG,
    device_id: DeviceNames = None,
    sensor_id: SensorIds = None,
) -> TrendRequest:
    """Read the question. Raises ``Invalid``."""
    if time_range is not None and start is not None:
        raise invalid("range", "name either a range or a start, not both")
    end_us = read_time("end", end)
    end_us = clock.now_us() + 1 if end_us is None else end_us
    start_us = read_time("start", start)
    if start_us is None:
        start_us = end_us - DAYS[time_range or TrendRange.WEEK] * US_PER_DAY
    start_us, end_us = max(0, start_us), max(0, end_us)
    if start_us >= end_us:
        raise invalid("end", "must be later than start")
    if interval is None:
        interval = "1h" if end_us - start_us <= HOURLY_DAYS_MAX * US_PER_DAY else "1d"
    elif WHOLE_HOURS.fullmatch(interval) is None:
        raise invalid("interval", "use a number and h, d or w, such as 1d")
    return TrendRequest(
        series=ReadingFilter(
            device_ids=None if device_id is None else tuple(device_id),
            sensor_types=None if metric is None else tuple(name.lower() for name in metric),
            sensor_ids=None if sensor_id is None else tuple(sensor_id),
        ),
        period=Period(start_us, end_us, parse_interval(interval)),
        aggregate=aggregate,
        group_by=group_by,
    )


Trending = Annotated[TrendRequest, Depends(trend_request)]
