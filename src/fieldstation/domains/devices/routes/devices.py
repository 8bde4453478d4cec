"""Devices over HTTP."""

from typing import Annotated

from fastapi import Body, Query, Request

from fieldstation.db.base import ID_LENGTH
from fieldstation.domains.devices import heartbeats
from fieldstation.domains.devices.access import (
    DeviceReader,
    DeviceViewer,
    DeviceWriter,
    TheDevice,
)
from fieldstation.domains.devices.schemas.devices import (
    DeviceCreate,
    DeviceFilter,
    DeviceRead,
    DeviceRegistration,
    DeviceStatus,
    DeviceType,
    DeviceUpdate,
    HeartbeatAnswer,
    HeartbeatBody,
    KeyCreate,
    KeyIssued,
    KeyRead,
)
from fieldstation.domains.devices.schemas.groups import GROUP_ID
from fieldstation.domains.devices.service import devices as service
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.access import TheQuota
from fieldstation.domains.identity.service.keys import KEYS_PER_SUBJECT_MAX
from fieldstation.web.dependencies import Db, ReadDb, TheClock
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.etags import IfMatch, Tagged
from fieldstation.web.instants import NO_NUL, Instant
from fieldstation.web.pagination import Listed, Page
from fieldstation.web.routing import API, station_router
from fieldstation.web.sorting import sort_query

router = station_router(f"{API}/devices", tag="Devices")
Sort = Annotated[str | None, sort_query("created_at", "updated_at", "name", "device_type")]
HeartbeatForm = Annotated[HeartbeatBody, Body(default_factory=HeartbeatBody)]


@router.get("")
async def list_devices(
    *,
    caller: DeviceReader,
    db: ReadDb,
    clock: TheClock,
    page: Page,
    status: Annotated[DeviceStatus | None, Query(description="Heard from lately or not.")] = None,
    device_type: Annotated[DeviceType | None, Query(description="Of this kind.")] = None,
    tag: Annotated[
        str | None,
        Query(max_length=50, pattern=NO_NUL, description="With this tag.", examples=["greenhouse"]),
    ] = None,
    q: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=NO_NUL,
            description="In the name or description.",
            examples=["north"],
        ),
    ] = None,
    last_seen_before: Annotated[
        Instant | None,
        Query(description="Not heard from since then.", examples=["2026-05-01T00:00:00Z"]),
    ] = None,
    group_id: Annotated[
        str | None,
        Query(
            max_length=ID_LENGTH,
            pattern=NO_NUL,
            description="In this group; none, if there is no such group.",
            examples=[GROUP_ID],
        ),
    ] = None,
    sort: Sort = None,
) -> Listed[DeviceRead]:
    """List devices, newest first unless `sort` says otherwise."""
    wanted = DeviceFilter(clock.now(), status, device_type, tag, q, last_seen_before, group_id)
    items, next_cursor, total = await service.list_devices(
        db, caller.scope, wanted=wanted, page=page, sort=sort
    )
    return Listed(items=items, next_cursor=next_cursor, total=total)


@router.post(
    "",
    status_code=201,
    summary="Register a device",
    responses=refuses(errors.quota_exceeded("devices", limit=25, used=25)),
)
async def register_device(
    *,
    form: DeviceCreate,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    quota: TheQuota,
    tagged: Tagged,
) -> DeviceRegistration:
    """Register a device; its first key is in the answer and is not shown again."""
    now = clock.now()
    return tagged(await service.register_device(db, caller, form, quota=quota, now=now))


@router.get("/{device_id}", summary="Read a device")
async def read_device(
    device_id: str, caller: DeviceReader, db: ReadDb, clock: TheClock, tagged: Tagged
) -> DeviceRead:
    """Return one device as the station knows it, online or not."""
    return tagged(await service.get_device(db, caller.scope, device_id, now=clock.now()))


@router.put("/{device_id}", summary="Replace a device")
async def replace_device(
    *,
    device_id: str,
    form: DeviceCreate,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    match: IfMatch,
    tagged: Tagged,
) -> DeviceRead:
    """Describe a device anew; what is left out takes its default."""
    return tagged(
        await service.replace_device(db, caller, device_id, form, now=clock.now(), match=match)
    )


@router.patch("/{device_id}", summary="Change a device")
async def update_device(
    *,
    device_id: str,
    form: DeviceUpdate,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    match: IfMatch,
    tagged: Tagged,
) -> DeviceRead:
    """Change only the fields that are sent."""
    return tagged(
        await service.update_device(db, caller, device_id, form, now=clock.now(), match=match)
    )


@router.delete("/{device_id}", status_code=204, summary="Delete a device")
async def delete_device(
    *,
    device_id: str,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    match: IfMatch,
    purge: Annotated[bool, Query(description="Delete its readings as well.")] = False,
) -> None:
    """Remove a device; its keys end at once, its readings stay unless purged."""
    await service.delete_device(db, caller, device_id, purge=purge, now=clock.now(), match=match)


@router.get("/{device_id}/keys", summary="List a device's keys")
async def list_keys(
    *,
    device_id: str,
    caller: DeviceViewer,
    db: ReadDb,
    page: Page,
    sort: Annotated[str | None, sort_query("created_at", "name")] = None,
) -> Listed[KeyRead]:
    """List the live keys of a device, at most 25, oldest first unless `sort` says otherwise."""
    return await service.list_keys(db, caller.scope, device_id, page=page, sort=sort)


@router.post(
    "/{device_id}/keys",
    status_code=201,
    summary="Add a key",
    responses=refuses(errors.too_many("keys", limit=KEYS_PER_SUBJECT_MAX)),
)
async def add_key(
    *,
    device_id: str,
    form: KeyCreate,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    tagged: Tagged,
) -> KeyIssued:
    """Issue a further key, so that a device can change over before the old one is revoked."""
    return tagged(await service.add_key(db, caller, device_id, form, now=clock.now()))


@router.delete("/{device_id}/keys/{key_id}", status_code=204, summary="Revoke a key")
async def revoke_key(
    *,
    device_id: str,
    key_id: str,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    match: IfMatch,
) -> None:
    """Revoke a key; it dies within a second, open connections included."""
    await service.revoke_key(db, caller, device_id, key_id, now=clock.now(), match=match)


@router.post("/{device_id}/heartbeat", summary="Send a heartbeat")
async def send_heartbeat(
    *,
    device_id: str,
    form: HeartbeatForm,
    caller: TheDevice,
    db: Db,
    clock: TheClock,
    request: Request,
) -> HeartbeatAnswer:
    """Report a sign of life, with what else there is to say; only the device itself may."""
    now = clock.now()
    said = form.model_dump(mode="json", exclude_none=True)
    await heartbeats.keep_heartbeat(db, caller.scope, device_id, said=said, now=now)
    request.app.state.last_seen.note(device_id)
    return HeartbeatAnswer(server_time=now, pending_commands=0)
