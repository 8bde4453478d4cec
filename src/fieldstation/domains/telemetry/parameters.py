"""What the reading routes take: filters, pages, buckets, and the store they ask."""

from typing import Annotated

from fastapi import Depends, Query
from pydantic import StringConstraints
from starlette.requests import HTTPConnection, Request

from fieldstation.core.limits import PAGE_ITEMS_DEFAULT
from fieldstation.domains.devices.known import KnownDevices
from fieldstation.domains.telemetry import service
from fieldstation.domains.telemetry.bucketing import INTERVAL, invalid
from fieldstation.domains.telemetry.last_values import LastValues
from fieldstation.domains.telemetry.ports import Order, ReadingStore
from fieldstation.domains.telemetry.schemas import DEVICE_ID, Aggregate, Fill, SortOrder
from fieldstation.domains.telemetry.service import (
    BucketRequest,
    ReadingFilter,
    ReadingPage,
)
from fieldstation.web.dependencies import TheClock
from fieldstation.web.instants import INSTANT_SCHEMA, NO_NUL
from fieldstation.web.pagination import CURSOR_PATTERN

AGGREGATES = "|".join(Aggregate)

Name = Annotated[str, StringConstraints(pattern=NO_NUL, max_length=100)]
Names = Annotated[list[Name] | None, Query(max_length=100)]
Instant = Annotated[
    str | None,
    Query(
        max_length=40,
        description="RFC 3339, or epoch s, ms, µs, ns by magnitude.",
        examples=["2026-05-01T00:00:00Z"],
        json_schema_extra=INSTANT_SCHEMA,
    ),
]
DeviceNames = Annotated[
    Names, Query(description="Only this device; repeatable.", examples=[[DEVICE_ID]])
]
SensorTypes = Annotated[
    Names, Query(description="Only this type; repeatable.", examples=[["temperature"]])
]
ReadingTypes = Annotated[
    Names, Query(description="Another name of `sensor_type`.", examples=[["temperature"]])
]
SensorIds = Annotated[
    Names, Query(description="Only this sensor; repeatable.", examples=[["bme280-1"]])
]
Flagged = Annotated[
    bool | None,
    Query(description="Only readings flagged as anomalies; false: only others.", examples=[True]),
]


async def the_store(connection: HTTPConnection) -> ReadingStore:
    return connection.app.state.store


async def the_known_devices(connection: HTTPConnection) -> KnownDevices:
    return connection.app.state.known_devices


async def the_last_values(connection: HTTPConnection) -> LastValues:
    return connection.app.state.last_values


async def query_filter(
    *,
    device_id: DeviceNames = None,
    sensor_type: SensorTypes = None,
    reading_type: ReadingTypes = None,
    sensor_id: SensorIds = None,
    start: Instant = None,
    end: Instant = None,
    anomaly: Flagged = None,
) -> ReadingFilter:
    types = [*(sensor_type or ()), *(reading_type or ())]
    return ReadingFilter(
        device_ids=None if device_id is None else tuple(device_id),
        sensor_types=tuple(name.lower() for name in types) or None,
        sensor_ids=None if sensor_id is None else tuple(sensor_id),
        start_us=service.read_time("start", start),
        end_us=service.read_time("end", end),
        anomaly=anomaly,
    )


async def device_filter(
    *,
    device_id: str,
    sensor_type: SensorTypes = None,
    reading_type: ReadingTypes = None,
    sensor_id: SensorIds = None,
    start: Instant = None,
    end: Instant = None,
    anomaly: Flagged = None,
) -> ReadingFilter:
    return await query_filter(
        device_id=[device_id],
        sensor_type=sensor_type,
        reading_type=reading_type,
        sensor_id=sensor_id,
        start=start,
        end=end,
        anomaly=anomaly,
    )


async def latest_filter(
    *,
    request: Request,
    device_id: DeviceNames = None,
    sensor_type: SensorTypes = None,
    reading_type: ReadingTypes = None,
    sensor_id: SensorIds = None,
    anomaly: Flagged = None,
) -> ReadingFilter:
    """Refuse a period: only the newest readings are known, not the newest of some time."""
    for name in ("start", "end"):
        if name in request.query_params:
            raise invalid(name, "newest readings have no period; ask for readings with limit=1")
    return await query_filter(
        device_id=device_id,
        sensor_type=sensor_type,
        reading_type=reading_type,
        sensor_id=sensor_id,
        anomaly=anomaly,
    )


async def device_latest_filter(
    *,
    request: Request,
    device_id: str,
    sensor_type: SensorTypes = None,
    reading_type: ReadingTypes = None,
    sensor_id: SensorIds = None,
    anomaly: Flagged = None,
) -> ReadingFilter:
    return await latest_filter(
        request=request,
        device_id=[device_id],
        sensor_type=sensor_type,
        reading_type=reading_type,
        sensor_id=sensor_id,
        anomaly=anomaly,
    )


async def reading_page(
    order: Annotated[SortOrder, Query(description="By time.")] = SortOrder.DESC,
    limit: Annotated[
        int, Query(ge=1, le=service.READINGS_PAGE_MAX, description="Readings on this page.")
    ] = PAGE_ITEMS_DEFAULT,
    cursor: Annotated[
        str | None,
        Query(
            max_length=200,
            description="`next_cursor` of the page before.",
            examples=["WzE3Nzc2MzY4MDAwMDAwMDAsNDJd"],
            json_schema_extra={"pattern": CURSOR_PATTERN},
        ),
    ] = None,
) -> ReadingPage:
    oldest_first = order is SortOrder.ASC
    return ReadingPage(
        order=Order.OLDEST_FIRST if oldest_first else Order.NEWEST_FIRST,
        limit=limit,
        cursor=cursor,
    )


async def bucket_request(
    clock: TheClock,
    interval: Annotated[
        str | None,
        Query(
            max_length=10,
            description="Answer with buckets: `30s`, `5m`, `1h`, `1d`, `1w`.",
            examples=["1h"],
            json_schema_extra={"pattern": f"^{INTERVAL.pattern}$"},
        ),
    ] = None,
    aggregate: Annotated[
        str,
        Query(
            max_length=100,
            description="Of avg, min, max, sum, count, first, last, stddev; with commas.",
            json_schema_extra={"pattern": f"^({AGGREGATES})(,({AGGREGATES}))*$"},
        ),
    ] = "avg",
    fill: Annotated[Fill, Query(description="What empty buckets hold.")] = Fill.NONE,
) -> BucketRequest | None:
    if interval is None:
        return None
    return BucketRequest(interval=interval, aggregate=aggregate, fill=fill, now_us=clock.now_us())


async def points_max(
    max_points: Annotated[
        int | None,
        Query(
            ge=service.POINTS_MIN,
            le=service.POINTS_MAX,
            description="Answer with at most so many readings of each series that keep the shape of"
            " its line; not together with `interval`.",
            examples=[1000],
        ),
    ] = None,
) -> int | None:
    return max_points


Store = Annotated[ReadingStore, Depends(the_store)]
Devices = Annotated[KnownDevices, Depends(the_known_devices)]
Latest = Annotated[LastValues, Depends(the_last_values)]
QueryFilter = Annotated[ReadingFilter, Depends(query_filter)]
DeviceFilter = Annotated[ReadingFilter, Depends(device_filter)]
LatestFilter = Annotated[ReadingFilter, Depends(latest_filter)]
DeviceLatestFilter = Annotated[ReadingFilter, Depends(device_latest_filter)]
Paging = Annotated[ReadingPage, Depends(reading_page)]
Bucketing = Annotated[BucketRequest | None, Depends(bucket_request)]
Points = Annotated[int | None, Depends(points_max)]
