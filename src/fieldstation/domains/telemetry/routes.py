"""Readings over HTTP: taking them in, and asking for them."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Depends, Request, Response

from fieldstation.domains.identity.errors import quota_exceeded
from fieldstation.domains.telemetry import service, shortcuts
from fieldstation.domains.telemetry.access import Reader, documented_sender, sender_of
from fieldstation.domains.telemetry.parameters import (
    Bucketing,
    DeviceFilter,
    DeviceLatestFilter,
    Devices,
    Latest,
    LatestFilter,
    Paging,
    Points,
    QueryFilter,
    Store,
)
from fieldstation.domains.telemetry.payloads import (
    Decoded,
    decode_cbor,
    decode_msgpack,
    decode_readings,
)
from fieldstation.domains.telemetry.quotas import used_up
from fieldstation.domains.telemetry.rendering import encode
from fieldstation.domains.telemetry.schemas import (
    BucketList,
    IntakeResult,
    LatestReadings,
    PointList,
    ReadingList,
    RefusalRead,
    StatsList,
)
from fieldstation.web.bodies import JSON, JSON_TYPES, content_type, decode_body, unsupported
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.hot_route import HotRoute, shortcut
from fieldstation.web.leaving import unless_left
from fieldstation.web.pagination import Listed, Page
from fieldstation.web.routing import API, station_router

DECODERS = {
    JSON: decode_readings,
    "application/cbor": decode_cbor,
    "application/msgpack": decode_msgpack,
    "application/vnd.msgpack": decode_msgpack,
    "application/x-msgpack": decode_msgpack,
}

intake_router = station_router(API, tag="Telemetry", route_class=HotRoute)
router = station_router(API, tag="Telemetry")


@intake_router.post(
    "/devices/{device_id}/readings",
    status_code=201,
    response_model=IntakeResult,
    summary="Send readings",
    dependencies=[Depends(documented_sender)],
    openapi_extra={"requestBody": {"content": {"application/cbor": {}, "application/msgpack": {}}}},
    responses=refuses(
        service.no_valid_readings(1, [service.FUTURE_READING]),
        used_up(quota_exceeded("readings", limit=1_000_000, used=1_000_000)),
    ),
)
async def send_readings(request: Request) -> Response:
    """Store readings of a device; answered only after they are committed to disk.

    Valid readings are stored even if others of the batch are rejected. The same reading again is a
    duplicate; one that is older than the organization's retention keeps is rejected with
    `beyond_retention`. Besides JSON, bodies may be CBOR (`application/cbor`) or MessagePack
    (`application/msgpack`), and compressed with gzip, deflate or zstd.
    """
    device_id = request.path_params["device_id"]
    organization_id = await sender_of(request, device_id)
    state = request.app.state
    state.intake_door.make_sure_of_room(organization_id)
    decoded = await decode_body(request, decoder_for(request))
    result = await state.intake_door.take(
        decoded, organization_id=organization_id, device_id=device_id, protocol="http"
    )
    state.last_seen.note(device_id)
    return Response(encode(result), status_code=201, media_type=JSON)


def decoder_for(request: Request) -> Callable[[bytes], Decoded]:
    """Choose by ``Content-Type``, JSON where there is none. Raises ``UnsupportedMedia``."""
    given = content_type(request.headers, default=JSON)
    decode = DECODERS.get(given)
    if decode is not None:
        return decode
    if JSON_TYPES.match(given):
        return decode_readings
    raise unsupported(given, f"Content-Type: {JSON}, application/cbor or application/msgpack")


async def encoded(content: Coroutine[Any, Any, Any]) -> Response:
    return Response(encode(await content), media_type=JSON)


@router.get(
    "/devices/{device_id}/readings",
    response_model=ReadingList | BucketList | PointList,
    summary="Read a device's readings",
)
async def read_device_readings(
    *,
    request: Request,
    device_id: str,
    caller: Reader,
    devices: Devices,
    store: Store,
    wanted: DeviceFilter,
    paging: Paging,
    bucketing: Bucketing,
    max_points: Points,
) -> Response:
    """Return a device's readings, newest first; with `interval`, buckets of them; with
    `max_points`, the points that a chart needs.

    There is no total: counting would read the whole period; `readings/stats` does, with `count`.

    **Cost.** A page reads about what it shows. Buckets of whole hours or days read summaries of the
    period and only its edges and newest hours in full; others read every reading of it; at most
    100,000 in all. Points are chosen by MinMaxLTTB: of a series with readings in at least as many
    hours as points are wanted, or with more than two million readings in a quarter as many, among
    the first, last, smallest and largest reading of each hour, else among all; the smallest and
    largest of the period are always there, and `cursor`, `limit` and `order` do not apply.
    """
    await devices.require(caller.scope, device_id)
    content = service.list_or_bucket(
        store, caller.scope, wanted, paging, bucketing, points_max=max_points
    )
    return await unless_left(request, encoded(content))


@router.get(
    "/devices/{device_id}/readings/latest",
    response_model=LatestReadings,
    summary="Read a device's newest readings",
)
@shortcut(shortcuts.latest_of_device)
async def read_latest(
    device_id: str,
    caller: Reader,
    devices: Devices,
    last_values: Latest,
    wanted: DeviceLatestFilter,
) -> Response:
    """Return the newest reading of every series of a device, from memory: no database access."""
    await devices.require(caller.scope, device_id)
    found = service.encode_latest(last_values, caller.scope, wanted)
    return Response(found, media_type=JSON)


@router.get(
    "/devices/{device_id}/readings/stats",
    response_model=StatsList,
    summary="Read a device's statistics",
)
async def read_stats(
    *,
    request: Request,
    device_id: str,
    caller: Reader,
    devices: Devices,
    store: Store,
    wanted: DeviceFilter,
) -> Response:
    """Return statistics of every series of a device over a period (without a start: all of it).

    **Cost.** Whole days are read as summaries where a series has more than 20,000 readings in them;
    its percentiles are then within 1 % of the value. Everything else is read in full and exact.
    """
    await devices.require(caller.scope, device_id)
    content = service.list_stats(store, caller.scope, wanted)
    return await unless_left(request, encoded(content))


@router.get(
    "/readings",
    response_model=ReadingList | BucketList | PointList,
    summary="Read readings across devices",
)
async def read_readings(
    *,
    request: Request,
    caller: Reader,
    store: Store,
    wanted: QueryFilter,
    paging: Paging,
    bucketing: Bucketing,
    max_points: Points,
) -> Response:
    """Return readings across devices, newest first; with `interval`, buckets of them; with
    `max_points`, the points that a chart needs.

    There is no total: counting would read the whole period; `readings/stats` does, with `count`.

    **Cost.** As for one device, for every series that is asked for: at most 100,000 buckets or
    points in all.
    """
    content = service.list_or_bucket(
        store, caller.scope, wanted, paging, bucketing, points_max=max_points
    )
    return await unless_left(request, encoded(content))


@router.get(
    "/readings/latest", response_model=LatestReadings, summary="Read newest readings across devices"
)
@shortcut(shortcuts.latest_across)
async def read_latest_across(caller: Reader, last_values: Latest, wanted: LatestFilter) -> Response:
    """Return the newest reading of every series across devices, from memory."""
    found = service.encode_latest(last_values, caller.scope, wanted)
    return Response(found, media_type=JSON)


@router.get("/readings/stats", response_model=StatsList, summary="Read statistics across devices")
async def read_stats_across(
    request: Request, caller: Reader, store: Store, wanted: QueryFilter
) -> Response:
    """Return statistics of every series across devices over a period.

    **Cost.** As for one device, for every series that is asked for.
    """
    content = service.list_stats(store, caller.scope, wanted)
    return await unless_left(request, encoded(content))


@router.get("/devices/{device_id}/refusals", summary="List refused messages")
async def read_refusals(
    device_id: str, caller: Reader, devices: Devices, store: Store, page: Page
) -> Listed[RefusalRead]:
    """Return messages that were acknowledged but could not be stored, always newest first, each
    with its reason."""
    await devices.require(caller.scope, device_id)
    return await service.list_refusals(store, caller.scope, device_id, page=page)
