"""Every statement on groups of devices; each is bound to one organization."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    false,
    func,
    insert,
    not_,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.db.database import broken
from fieldstation.db.keyset import SortField, by_instant, by_text, sorted_behind
from fieldstation.db.statements import rows_changed
from fieldstation.domains.devices import errors
from fieldstation.domains.devices.models import Device, DeviceGroup, DeviceGroupMember, DeviceTag
from fieldstation.domains.devices.tag_expressions import Expression, evaluate, parse_expression
from fieldstation.web.sorting import Order

SORTABLE: Mapping[str, SortField[DeviceGroup]] = {
    "created_at": by_instant(DeviceGroup.created_at, lambda group: group.created_at),
    "updated_at": by_instant(DeviceGroup.updated_at, lambda group: group.updated_at),
    "name": by_text(DeviceGroup.name_key, lambda group: group.name_key),
}


def name_key(name: str) -> str:
    """Return how a name is compared: without case."""
    return name.casefold()


async def save(session: AsyncSession, group: DeviceGroup) -> None:
    """Write a group now. Raises ``Conflict`` when another one has its name."""
    session.add(group)
    try:
        await session.flush()
    except IntegrityError as error:
        if "name_key" in broken(error):
            raise errors.name_taken() from error
        raise


async def delete_group(session: AsyncSession, group: DeviceGroup) -> None:
    """Delete a group with its list of members. Raises ``Conflict`` while something refers to it."""
    await session.delete(group)
    try:
        await session.flush()
    except IntegrityError as error:
        raise errors.group_in_use() from error


async def find_group(
    session: AsyncSession, organization_id: str, group_id: str, *, lock: bool = False
) -> DeviceGroup | None:
    """Return a group; with ``lock`` other changes of it wait for this transaction."""
    statement = select(DeviceGroup).where(
        DeviceGroup.organization_id == organization_id, DeviceGroup.id == group_id
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    return await session.scalar(statement)


async def list_groups(
    session: AsyncSession,
    organization_id: str,
    *,
    text: str | None,
    order: Order[DeviceGroup],
    after: Sequence[Any] | None,
    limit: int,
) -> Sequence[DeviceGroup]:
    """Return groups in an order, strictly behind a sort key."""
    statement = sorted_behind(
        narrow(select(DeviceGroup), organization_id, text),
        order.fields,
        after,
        sortable=order.sortable,
        row_id=DeviceGroup.id,
    )
    return (await session.scalars(statement.limit(limit))).all()


async def count_groups(
    session: AsyncSession, organization_id: str, *, text: str | None = None
) -> int:
    counted = narrow(select(func.count()).select_from(DeviceGroup), organization_id, text)
    return await session.scalar(counted) or 0


def narrow(statement: Select[Any], organization_id: str, text: str | None) -> Select[Any]:
    statement = statement.where(DeviceGroup.organization_id == organization_id)
    if text is None:
        return statement
    return statement.where(
        or_(
            DeviceGroup.name_key.contains(name_key(text), autoescape=True),
            func.lower(DeviceGroup.description).contains(text.lower(), autoescape=True),
        )
    )


async def is_in_group(
    session: AsyncSession, organization_id: str, group_id: str
) -> ColumnElement[bool]:
    """Return the condition that a device is in a group; none is, where there is no such group.

    It speaks of tags and members only: combine it with one on the device's organization.
    """
    group = await find_group(session, organization_id, group_id)
    return false() if group is None else belongs(group)


def belongs(group: DeviceGroup) -> ColumnElement[bool]:
    if group.tag_expression is None:
        listed = select(DeviceGroupMember.device_id).where(DeviceGroupMember.group_id == group.id)
        return Device.id.in_(listed)
    return evaluate(
        parse_expression(group.tag_expression),
        tag=has_tag,
        negate=not_,
        every=lambda parts: and_(*parts),
        some=lambda parts: or_(*parts),
    )


def has_tag(tag: str) -> ColumnElement[bool]:
    return Device.id.in_(select(DeviceTag.device_id).where(DeviceTag.tag == tag))


async def device_ids_in(session: AsyncSession, group: DeviceGroup) -> set[str]:
    rows = await session.scalars(
        select(Device.id).where(Device.organization_id == group.organization_id, belongs(group))
    )
    return set(rows)


async def count_devices_in(session: AsyncSession, group: DeviceGroup) -> int:
    counted = select(func.count()).where(
        Device.organization_id == group.organization_id, belongs(group)
    )
    return await session.scalar(counted) or 0


async def all_expressions(
    session: AsyncSession, organization_id: str
) -> dict[str, Expression | None]:
    """Return the expression of every group by its id; none where members are listed."""
    rows = await session.execute(
        select(DeviceGroup.id, DeviceGroup.tag_expression).where(
            DeviceGroup.organization_id == organization_id
        )
    )
    return {group_id: None if text is None else parse_expression(text) for group_id, text in rows}


async def all_listed_members(session: AsyncSession, organization_id: str) -> dict[str, set[str]]:
    """Return the listed devices of every group that lists some."""
    return await gathered(
        session,
        select(DeviceGroupMember.group_id, DeviceGroupMember.device_id)
        .join(DeviceGroup, DeviceGroup.id == DeviceGroupMember.group_id)
        .where(DeviceGroup.organization_id == organization_id),
    )


async def all_device_ids(session: AsyncSession, organization_id: str) -> set[str]:
    rows = await session.scalars(select(Device.id).where(Device.organization_id == organization_id))
    return set(rows)


async def all_with_tags(
    session: AsyncSession, organization_id: str, tags: Collection[str]
) -> dict[str, set[str]]:
    """Return, of those tags that devices have, the devices that have them."""
    # Joined to nothing: SQLite would look each of the tags up for each device, ten times as long.
    tag = DeviceTag.tag + ""
    return await gathered(
        session,
        select(DeviceTag.tag, DeviceTag.device_id)
        .join(Device, Device.id == DeviceTag.device_id)
        .where(Device.organization_id == organization_id, tag.in_(tags)),
    )


async def gathered(session: AsyncSession, statement: Select[str, str]) -> dict[str, set[str]]:
    """Gather device ids by what stands before them; past the ORM, in half its time."""
    found: dict[str, set[str]] = defaultdict(set)
    connection = await session.connection()
    for name, device_id in await connection.execute(statement):
        found[name].add(device_id)
    return found


async def listed_members(session: AsyncSession, group_id: str) -> set[str]:
    rows = await session.scalars(
        select(DeviceGroupMember.device_id).where(DeviceGroupMember.group_id == group_id)
    )
    return set(rows)


async def existing_devices(
    session: AsyncSession, organization_id: str, device_ids: Collection[str]
) -> set[str]:
    """Return which of the ids are devices of the organization.

    None of those can be deleted before this transaction ends, so they can be made members.
    """
    rows = await session.scalars(
        select(Device.id)
        .where(Device.organization_id == organization_id, Device.id.in_(device_ids))
        .order_by(Device.id)
        .with_for_update(read=True, key_share=True)
    )
    return set(rows)


async def add_members(session: AsyncSession, group_id: str, device_ids: Collection[str]) -> None:
    if device_ids:
        rows = [{"group_id": group_id, "device_id": device_id} for device_id in sorted(device_ids)]
        await session.execute(insert(DeviceGroupMember), rows)


async def remove_members(session: AsyncSession, group_id: str, device_ids: Collection[str]) -> int:
    """Take devices off a group's list; return how many were on it."""
    return await rows_changed(
        session,
        delete(DeviceGroupMember)
        .where(DeviceGroupMember.group_id == group_id, DeviceGroupMember.device_id.in_(device_ids))
        .execution_options(synchronize_session=False),
    )
