"""Groups of devices over HTTP."""

from typing import Annotated

from fastapi import Query

from fieldstation.domains.devices import errors
from fieldstation.domains.devices.access import DeviceViewer, DeviceWriter
from fieldstation.domains.devices.routes.devices import Sort
from fieldstation.domains.devices.schemas.devices import DEVICE_ID, DeviceRead
from fieldstation.domains.devices.schemas.groups import (
    GROUPS_MAX,
    MEMBERS_MAX,
    DeviceGroupCreate,
    DeviceGroupDetail,
    DeviceGroupRead,
    DeviceGroupUpdate,
)
from fieldstation.domains.devices.service import groups as service
from fieldstation.web.dependencies import Db, ReadDb, TheClock
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.etags import IfMatch, Tagged
from fieldstation.web.instants import NO_NUL
from fieldstation.web.pagination import Listed, Page
from fieldstation.web.routing import API, station_router
from fieldstation.web.sorting import sort_query

router = station_router(f"{API}/device-groups", tag="Devices")
CHANGE_REFUSALS = refuses(errors.name_taken(), errors.unknown_devices([DEVICE_ID]))


@router.get("", summary="List device groups")
async def list_groups(
    *,
    caller: DeviceViewer,
    db: ReadDb,
    page: Page,
    q: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=NO_NUL,
            description="In the name or description.",
            examples=["lab"],
        ),
    ] = None,
    sort: Annotated[str | None, sort_query("created_at", "updated_at", "name")] = None,
) -> Listed[DeviceGroupRead]:
    """List the groups of devices, at most 200, oldest first unless `sort` says otherwise.

    How many devices a group has is told where it is read alone.
    """
    return await service.list_groups(db, caller.organization_id, text=q, page=page, sort=sort)


@router.post(
    "",
    status_code=201,
    summary="Make a device group",
    responses=refuses(
        errors.name_taken(),
        errors.too_many_groups(GROUPS_MAX),
        errors.unknown_devices([DEVICE_ID]),
    ),
)
async def create_group(
    form: DeviceGroupCreate, caller: DeviceWriter, db: Db, clock: TheClock, tagged: Tagged
) -> DeviceGroupDetail:
    """Make a group of listed devices (`device_ids`) or of those whose tags fit a
    `tag_expression`, also of devices to come."""
    return tagged(await service.create_group(db, caller, form, now=clock.now()))


@router.get("/{group_id}", summary="Read a device group")
async def read_group(
    group_id: str, caller: DeviceViewer, db: ReadDb, tagged: Tagged
) -> DeviceGroupDetail:
    """Return one group, and how many devices belong to it."""
    return tagged(await service.get_group(db, caller.organization_id, group_id))


@router.put("/{group_id}", summary="Replace a device group", responses=CHANGE_REFUSALS)
async def replace_group(
    *,
    group_id: str,
    form: DeviceGroupCreate,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    match: IfMatch,
    tagged: Tagged,
) -> DeviceGroupDetail:
    """Describe a group anew; `device_ids` or `tag_expression` has to be given again."""
    return tagged(
        await service.replace_group(db, caller, group_id, form, now=clock.now(), match=match)
    )


@router.patch("/{group_id}", summary="Change a device group", responses=CHANGE_REFUSALS)
async def update_group(
    *,
    group_id: str,
    form: DeviceGroupUpdate,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    match: IfMatch,
    tagged: Tagged,
) -> DeviceGroupDetail:
    """Change only the fields that are sent. A list of members that gets a `tag_expression` is
    forgotten, and the other way round."""
    return tagged(
        await service.update_group(db, caller, group_id, form, now=clock.now(), match=match)
    )


@router.delete(
    "/{group_id}",
    status_code=204,
    summary="Delete a device group",
    responses=refuses(errors.group_in_use()),
)
async def delete_group(
    group_id: str, caller: DeviceWriter, db: Db, clock: TheClock, match: IfMatch
) -> None:
    """Remove a group that nothing is for any more; its devices stay."""
    await service.delete_group(db, caller, group_id, now=clock.now(), match=match)


@router.get("/{group_id}/devices", summary="List a group's devices")
async def list_members(
    *,
    group_id: str,
    caller: DeviceViewer,
    db: ReadDb,
    clock: TheClock,
    page: Page,
    sort: Sort = None,
) -> Listed[DeviceRead]:
    """List the devices that are in a group now, newest first unless `sort` says otherwise.

    `GET /api/v1/devices?group_id=` combines a group with other filters.
    """
    return await service.list_devices(
        db, caller.scope, group_id, page=page, sort=sort, now=clock.now()
    )


@router.put(
    "/{group_id}/members/{device_id}",
    status_code=204,
    summary="Add a device to a group",
    responses=refuses(errors.follows_tags(), errors.too_many_members(MEMBERS_MAX)),
)
async def add_member(
    *,
    group_id: str,
    device_id: str,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    match: IfMatch,
) -> None:
    """List one more device in a group; it may be in it already."""
    await service.add_member(db, caller, group_id, device_id, now=clock.now(), match=match)


@router.delete(
    "/{group_id}/members/{device_id}",
    status_code=204,
    summary="Take a device out of a group",
    responses=refuses(errors.follows_tags()),
)
async def remove_member(
    *,
    group_id: str,
    device_id: str,
    caller: DeviceWriter,
    db: Db,
    clock: TheClock,
    match: IfMatch,
) -> None:
    """Take one device off a group's list."""
    await service.remove_member(db, caller, group_id, device_id, now=clock.now(), match=match)
