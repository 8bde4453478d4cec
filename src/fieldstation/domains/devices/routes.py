"""Devices over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from fieldstation.domains.devices import service
from fieldstation.domains.devices.access import (
    DeviceReader,
    DeviceViewer,
    DeviceWriter,
    TheDevice,
)
from fieldstation.domains.devices.schemas import (
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
from fieldstation.domains.identity.access import TheQuota
from fieldstation.web.dependencies import Db, ReadDb, TheClock
from fieldstation.web.instants import NO_NUL, Instant
from fieldstation.web.pagination import Listed, Page

router = APIRouter(prefix="/devices", tags=["Devices"])


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
        str | None, Query(max_length=50, pattern=NO_NUL, description="With this tag.")
    ] = None,
    q: Annotated[
        str | None,
        Query(max_length=100, pattern=NO_NUL, description="In the name or description."),
    ] = None,
    last_seen_before: Annotated[
        Instant | None, Query(description="Not heard from since then.")
    ] = None,
) -> Listed[DeviceRead]:
    """List devices, newest first."""
    wanted = DeviceFilter(clock.now(), status, device_type, tag, q, last_seen_before)
    items, next_cursor, total = await service.list_devices(
        db, caller.scope, wanted=wanted, page=page
    )
    return Listed(items=items, next_cursor=next_cursor, total=total)


@router.post("", status_code=201)
async def register_device(
    form: DeviceCreate, caller: DeviceWriter, db: Db, clock: TheClock, quota: TheQuota
) -> DeviceRegistration:
    """Register a device; its first key is in the answer and is not shown again."""
    return await service.register_device(db, caller, form, quota=quota, now=clock.now())


@router.get("/{device_id}")
async def read_device(
    device_id: str, caller: DeviceReader, db: ReadDb, clock: TheClock
) -> DeviceRead:
    """Return one device."""
    return await service.get_device(db, caller.scope, device_id, now=clock.now())


@router.put("/{device_id}")
async def replace_device(
    device_id: str, form: DeviceCreate, caller: DeviceWriter, db: Db, clock: TheClock
) -> DeviceRead:
    """Describe a device anew; what is left out takes its default."""
    return await service.replace_device(db, caller, device_id, form, now=clock.now())


@router.patch("/{device_id}")
async def update_device(
    device_id: str, form: DeviceUpdate, caller: DeviceWriter, db: Db, clock: TheClock
) -> DeviceRead:
    """Change only the fields that are sent."""
    return await service.update_device(db, caller, device_id, form, now=clock.now())


@router.delete("/{device_id}", status_code=204)
async def delete_device(
    device_id: str,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    purge: Annotated[bool, Query(description="Delete its readings as well.")] = False,
) -> None:
    """Remove a device; its keys end at once, its readings stay unless purged."""
    await service.delete_device(db, caller, device_id, purge=purge, now=clock.now())


@router.get("/{device_id}/keys")
async def list_keys(device_id: str, caller: DeviceViewer, db: ReadDb) -> Listed[KeyRead]:
    """List the live keys of a device; there are at most 25, on one page."""
    return Listed(items=await service.list_keys(db, caller.scope, device_id))


@router.post("/{device_id}/keys", status_code=201)
async def add_key(
    device_id: str, form: KeyCreate, caller: DeviceWriter, db: Db, clock: TheClock
) -> KeyIssued:
    """Issue a further key, so that a device can change over before the old one is revoked."""
    return await service.add_key(db, caller, device_id, form, now=clock.now())


@router.delete("/{device_id}/keys/{key_id}", status_code=204)
async def revoke_key(
    device_id: str, key_id: str, caller: DeviceWriter, db: Db, clock: TheClock
) -> None:
    """Revoke a key; it dies within a second, open connections included."""
    await service.revoke_key(db, caller, device_id, key_id, now=clock.now())


@router.post("/{device_id}/heartbeat")
async def send_heartbeat(
    *,
    device_id: str,
    form: HeartbeatBody,
    caller: TheDevice,
    db: Db,
    clock: TheClock,
    request: Request,
) -> HeartbeatAnswer:
    """Report a sign of life."""
    now = clock.now()
    said = form.model_dump(mode="json", exclude_none=True)
    await service.keep_heartbeat(db, caller.scope, device_id, said=said, now=now)
    request.app.state.last_seen.note(device_id)
    return HeartbeatAnswer(server_time=now, pending_commands=0)
