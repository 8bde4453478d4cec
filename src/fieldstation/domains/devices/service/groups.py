"""Decides about groups of devices: who belongs to them, by a list or by tags."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from fieldstation.core.errors import Invalid, NotFound
from fieldstation.core.ids import new_id
from fieldstation.db.database import Session
from fieldstation.domains.audit.schemas import Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.devices import errors
from fieldstation.domains.devices.models import DeviceGroup
from fieldstation.domains.devices.queries import groups as queries
from fieldstation.domains.devices.schemas.devices import DeviceFilter, DeviceRead
from fieldstation.domains.devices.schemas.groups import (
    GROUPS_MAX,
    MEMBERS_MAX,
    DeviceGroupCreate,
    DeviceGroupDetail,
    DeviceGroupRead,
    DeviceGroupUpdate,
)
from fieldstation.domains.devices.service import devices
from fieldstation.domains.devices.tag_expressions import Expression, evaluate, tags_in
from fieldstation.domains.identity.schemas import Caller, TenantScope
from fieldstation.web.etags import ANY, Expected
from fieldstation.web.pagination import Listed, PageRequest, cut_page
from fieldstation.web.sorting import parse_sort

AUDITED = ("name", "description", "tag_expression")
AUDITED_DEVICES_MAX = 100
NOT_NULLABLE = ("name", "device_ids", "tag_expression")


async def group_device_ids(session: Session, organization_id: str, group_id: str) -> set[str]:
    """Return the devices that are in a group now, in two statements. Raises ``NotFound``."""
    return await queries.device_ids_in(session, await find(session, organization_id, group_id))


async def device_ids_by_group(session: Session, organization_id: str) -> dict[str, set[str]]:
    """Return the devices of every group of an organization, also of those that are empty.

    Four statements, whatever there is; the cost grows with listed members and tags that are named.
    """
    expressions = await queries.all_expressions(session, organization_id)
    listed = await queries.all_listed_members(session, organization_id)
    by_tags = {group_id: found for group_id, found in expressions.items() if found is not None}
    found = {group_id: listed.get(group_id, set()) for group_id in expressions}
    if by_tags:
        everything = await queries.all_device_ids(session, organization_id)
        named = frozenset[str]().union(*map(tags_in, by_tags.values()))
        tagged = await queries.all_with_tags(session, organization_id, named)
        for group_id, expression in by_tags.items():
            found[group_id] = fitting(expression, tagged, everything)
    return found


def fitting(
    expression: Expression, tagged: Mapping[str, set[str]], everything: set[str]
) -> set[str]:
    """Return the devices that an expression holds for, in a set of its own."""
    return evaluate(
        expression,
        tag=lambda tag: set(tagged.get(tag, ())),
        negate=everything.difference,
        every=lambda parts: set.intersection(*parts),
        some=lambda parts: set.union(*parts),
    )


async def create_group(
    session: Session, caller: Caller, form: DeviceGroupCreate, *, now: datetime
) -> DeviceGroupDetail:
    """Make a group.

    Raises ``Conflict`` for a name that is taken or one group too many, ``Invalid`` for a device
    that the organization does not have.
    """
    if await queries.count_groups(session, caller.organization_id) >= GROUPS_MAX:
        raise errors.too_many_groups(GROUPS_MAX)
    group = DeviceGroup(
        id=new_id(), organization_id=caller.organization_id, created_at=now, updated_at=now
    )
    rename(group, form.name)
    group.description = form.description
    group.tag_expression = form.tag_expression
    await queries.save(session, group)
    listing = await list_members_anew(session, group, form.device_ids or [])
    after = {**audited(group), **listing}
    note(session, caller, group, "created", after=after, now=now)
    return await read(session, group)


async def list_groups(
    session: Session,
    organization_id: str,
    *,
    text: str | None,
    page: PageRequest,
    sort: str | None = None,
) -> Listed[DeviceGroupRead]:
    """Return one page, oldest first unless ``sort`` says otherwise.

    Raises ``Invalid`` for a foreign cursor or order.
    """
    order = parse_sort(sort, sortable=queries.SORTABLE, default="created_at")
    rows = await queries.list_groups(
        session,
        organization_id,
        text=text,
        order=order,
        after=order.after(page),
        limit=page.limit + 1,
    )
    kept, next_cursor = cut_page(rows, page, lambda row: order.key(row, row.id))
    total = None
    if page.include_total:
        total = await queries.count_groups(session, organization_id, text=text)
    items = [DeviceGroupRead.model_validate(row) for row in kept]
    return Listed(items=items, next_cursor=next_cursor, total=total)


async def get_group(session: Session, organization_id: str, group_id: str) -> DeviceGroupDetail:
    """Return a group. Raises ``NotFound``."""
    return await read(session, await find(session, organization_id, group_id))


async def list_devices(
    session: Session,
    scope: TenantScope,
    group_id: str,
    *,
    page: PageRequest,
    sort: str | None,
    now: datetime,
) -> Listed[DeviceRead]:
    """Return a page of the devices in a group.

    Raises ``NotFound``, ``Invalid`` for a foreign cursor or order.
    """
    await find(session, scope.organization_id, group_id)
    wanted = DeviceFilter(now, group_id=group_id)
    items, next_cursor, total = await devices.list_devices(
        session, scope, wanted=wanted, page=page, sort=sort
    )
    return Listed(items=items, next_cursor=next_cursor, total=total)


async def replace_group(
    session: Session,
    caller: Caller,
    group_id: str,
    form: DeviceGroupCreate,
    *,
    now: datetime,
    match: Expected = ANY,
) -> DeviceGroupDetail:
    """Describe a group anew.

    Raises ``NotFound``, ``Conflict``, ``Invalid``, ``PreconditionFailed``.
    """
    return await change_group(session, caller, group_id, form.model_dump(), now=now, match=match)


async def update_group(
    session: Session,
    caller: Caller,
    group_id: str,
    form: DeviceGroupUpdate,
    *,
    now: datetime,
    match: Expected = ANY,
) -> DeviceGroupDetail:
    """Change only the fields that were sent.

    Raises ``NotFound``, ``Conflict``, ``Invalid``, ``PreconditionFailed``.
    """
    fields = form.model_dump(exclude_unset=True)
    for field in NOT_NULLABLE:
        if fields.get(field, "") is None:
            raise Invalid(
                f"{field}: cannot be null; leave it out to keep it.",
                errors=[{"loc": ["body", field], "msg": "cannot be null", "type": "null"}],
            )
    return await change_group(session, caller, group_id, fields, now=now, match=match)


async def change_group(
    session: Session,
    caller: Caller,
    group_id: str,
    fields: Mapping[str, Any],
    *,
    now: datetime,
    match: Expected,
) -> DeviceGroupDetail:
    group = await find_expected(session, caller, group_id, match)
    before = audited(group)
    rename(group, fields.get("name", group.name))
    group.description = fields.get("description", group.description)
    listing: dict[str, Any] = {}
    if fields.get("device_ids") is not None:
        group.tag_expression = None
        listing = await list_members_anew(session, group, fields["device_ids"])
    elif fields.get("tag_expression") is not None:
        group.tag_expression = fields["tag_expression"]
        listing = await list_members_anew(session, group, [])
    after = audited(group)
    changed = [field for field in AUDITED if before[field] != after[field]]
    if changed or listing:
        group.updated_at = now
        await queries.save(session, group)
        earlier, later = ({field: said[field] for field in changed} for said in (before, after))
        note(session, caller, group, "updated", before=earlier, after={**later, **listing}, now=now)
    return await read(session, group)


async def delete_group(
    session: Session, caller: Caller, group_id: str, *, now: datetime, match: Expected = ANY
) -> None:
    """Remove a group; its devices stay.

    Raises ``NotFound``, ``PreconditionFailed``, ``Conflict`` while something is for this group.
    """
    group = await find_expected(session, caller, group_id, match)
    await queries.delete_group(session, group)
    note(session, caller, group, "deleted", before=audited(group), now=now)


async def add_member(
    session: Session,
    caller: Caller,
    group_id: str,
    device_id: str,
    *,
    now: datetime,
    match: Expected = ANY,
) -> None:
    """List a device in a group; nothing happens if it is in it.

    Raises ``NotFound``, ``PreconditionFailed``, ``Conflict`` for a group by tags or a full one.
    """
    group = await find_listing(session, caller, group_id, match)
    if not await queries.existing_devices(session, group.organization_id, [device_id]):
        raise NotFound(devices.NO_DEVICE)
    members = await queries.listed_members(session, group.id)
    if device_id in members:
        return
    if len(members) >= MEMBERS_MAX:
        raise errors.too_many_members(MEMBERS_MAX)
    await queries.add_members(session, group.id, [device_id])
    group.updated_at = now
    note(session, caller, group, "updated", after={"added": some_of({device_id})}, now=now)


async def remove_member(
    session: Session,
    caller: Caller,
    group_id: str,
    device_id: str,
    *,
    now: datetime,
    match: Expected = ANY,
) -> None:
    """Take a device off a group's list.

    Raises ``NotFound``, also for a device that is not on it, ``PreconditionFailed``, ``Conflict``
    for a group by tags.
    """
    group = await find_listing(session, caller, group_id, match)
    await devices.require_device(session, caller.scope, device_id)
    if not await queries.remove_members(session, group.id, [device_id]):
        raise errors.no_such_member()
    group.updated_at = now
    note(session, caller, group, "updated", after={"removed": some_of({device_id})}, now=now)


async def find(
    session: Session, organization_id: str, group_id: str, *, lock: bool = False
) -> DeviceGroup:
    group = await queries.find_group(session, organization_id, group_id, lock=lock)
    if group is None:
        raise errors.no_such_group()
    return group


async def find_expected(
    session: Session, caller: Caller, group_id: str, match: Expected
) -> DeviceGroup:
    """Return a group to change, if it is still what the caller saw."""
    group = await find(session, caller.organization_id, group_id, lock=True)
    match.demand(shown(group, member_count=0))
    return group


async def find_listing(
    session: Session, caller: Caller, group_id: str, match: Expected
) -> DeviceGroup:
    group = await find_expected(session, caller, group_id, match)
    if group.tag_expression is not None:
        raise errors.follows_tags()
    return group


def rename(group: DeviceGroup, wanted: str) -> None:
    group.name, group.name_key = wanted, queries.name_key(wanted)


async def list_members_anew(
    session: Session, group: DeviceGroup, device_ids: Collection[str]
) -> dict[str, Any]:
    """Make these the listed members; return who came and went, for the audit trail."""
    wanted, listed = set(device_ids), await queries.listed_members(session, group.id)
    added, removed = wanted - listed, listed - wanted
    if added:
        known = await queries.existing_devices(session, group.organization_id, added)
        if added - known:
            raise errors.unknown_devices(sorted(added - known))
    await queries.add_members(session, group.id, added)
    await queries.remove_members(session, group.id, removed)
    moved = {"added": added, "removed": removed}
    return {what: some_of(device_ids) for what, device_ids in moved.items() if device_ids}


def some_of(device_ids: Collection[str]) -> dict[str, Any]:
    """Name devices in the audit trail, and count those that are too many to name."""
    return {"count": len(device_ids), "device_ids": sorted(device_ids)[:AUDITED_DEVICES_MAX]}


def note(
    session: Session,
    caller: Caller,
    group: DeviceGroup,
    what: str,
    *,
    now: datetime,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    change = Change(f"device_group.{what}", "device_group", group.id, before=before, after=after)
    record(session, change, actor=caller.actor, organization_id=group.organization_id, now=now)


def audited(group: DeviceGroup) -> dict[str, Any]:
    return {field: getattr(group, field) for field in AUDITED}


async def read(session: Session, group: DeviceGroup) -> DeviceGroupDetail:
    return shown(group, member_count=await queries.count_devices_in(session, group))


def shown(group: DeviceGroup, *, member_count: int) -> DeviceGroupDetail:
    fields = DeviceGroupRead.model_validate(group).model_dump()
    return DeviceGroupDetail(**fields, member_count=member_count)
