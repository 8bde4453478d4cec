"""Every statement on devices; each is bound to the caller's organization."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from fieldstation.core.clock import instant_to_us
from fieldstation.db.keyset import SortField, by_instant, by_text, sorted_behind
from fieldstation.db.statements import rows_changed
from fieldstation.domains.devices.models import Device, DeviceTag
from fieldstation.domains.devices.queries.groups import is_in_group
from fieldstation.domains.devices.schemas.devices import (
    MISSED_HEARTBEATS_MAX,
    DeviceFilter,
    DeviceStatus,
)
from fieldstation.domains.identity.schemas import TenantScope
from fieldstation.web.sorting import Order

IDS_PER_STATEMENT = 500
US_PER_S = 1_000_000
LIKE_ESCAPES = str.maketrans({"%": r"\%", "_": r"\_", "\\": r"\\"})

SORTABLE: Mapping[str, SortField[Device]] = {
    "created_at": by_instant(Device.created_at, lambda device: device.created_at),
    "updated_at": by_instant(Device.updated_at, lambda device: device.updated_at),
    "name": by_text(Device.name, lambda device: device.name),
    "device_type": by_text(Device.device_type, lambda device: str(device.device_type)),
}


def visible(scope: TenantScope) -> ColumnElement[bool]:
    own = Device.organization_id == scope.organization_id
    if scope.device_ids is None:
        return own
    return and_(own, Device.id.in_(scope.device_ids))


def add_device(session: AsyncSession, device: Device) -> None:
    session.add(device)


async def delete_device(session: AsyncSession, device: Device) -> None:
    await session.delete(device)


async def find_device(
    session: AsyncSession, scope: TenantScope, device_id: str, *, lock: bool = False
) -> Device | None:
    """Return a device; with ``lock`` other changes of it wait for this transaction."""
    statement = select(Device).where(visible(scope), Device.id == device_id)
    if lock:
        statement = statement.with_for_update(key_share=True)
    return await session.scalar(statement.options(selectinload(Device.tag_rows)))


async def organization_of(session: AsyncSession, device_id: str) -> str | None:
    """Return whose device this is: for the operator, who may see them all."""
    return await session.scalar(select(Device.organization_id).where(Device.id == device_id))


async def device_exists(session: AsyncSession, scope: TenantScope, device_id: str) -> bool:
    found = await session.scalar(select(Device.id).where(visible(scope), Device.id == device_id))
    return found is not None


async def find_by_name(
    session: AsyncSession, scope: TenantScope, *, name: str, device_type: str
) -> Device | None:
    """Return the oldest device of that name and type."""
    return await session.scalar(
        select(Device)
        .where(visible(scope), Device.name == name, Device.device_type == device_type)
        .order_by(Device.created_at, Device.id)
        .limit(1)
        .options(selectinload(Device.tag_rows))
    )


async def ids_by_name(session: AsyncSession, scope: TenantScope, name: str) -> Sequence[str]:
    """Return the ids of at most two devices of that name."""
    named = select(Device.id).where(visible(scope), Device.name == name)
    return (await session.scalars(named.limit(2))).all()


async def tags_of(
    session: AsyncSession, scope: TenantScope, device_ids: Sequence[str]
) -> Mapping[str, Sequence[str]]:
    """Return the tags of those devices that have some; a statement for each 500."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for at in range(0, len(device_ids), IDS_PER_STATEMENT):
        chosen = Device.id.in_(device_ids[at : at + IDS_PER_STATEMENT])
        tagged = select(DeviceTag.device_id, DeviceTag.tag).join(Device)
        for device_id, tag in await session.execute(tagged.where(visible(scope), chosen)):
            found[device_id].append(tag)
    return found


async def list_devices(
    session: AsyncSession,
    scope: TenantScope,
    *,
    wanted: DeviceFilter,
    order: Order[Device],
    after: Sequence[Any] | None,
    limit: int,
) -> Sequence[Device]:
    """Return devices in an order, strictly behind a sort key."""
    statement = sorted_behind(
        await narrow(session, scope, select(Device), wanted),
        order.fields,
        after,
        sortable=order.sortable,
        row_id=Device.id,
    )
    rows = await session.scalars(statement.limit(limit).options(selectinload(Device.tag_rows)))
    return rows.all()


async def count_devices(session: AsyncSession, scope: TenantScope, *, wanted: DeviceFilter) -> int:
    counted = select(func.count()).select_from(Device)
    statement = await narrow(session, scope, counted, wanted)
    return await session.scalar(statement) or 0


async def count_all(session: AsyncSession, organization_id: str) -> int:
    counted = select(func.count()).where(Device.organization_id == organization_id)
    return await session.scalar(counted) or 0


async def narrow(
    session: AsyncSession, scope: TenantScope, statement: Select[Any], wanted: DeviceFilter
) -> Select[Any]:
    statement = statement.where(visible(scope))
    if wanted.group_id is not None:
        statement = statement.where(
            await is_in_group(session, scope.organization_id, wanted.group_id)
        )
    if wanted.device_type is not None:
        statement = statement.where(Device.device_type == wanted.device_type)
    if wanted.tag is not None:
        tagged = select(DeviceTag.device_id).where(DeviceTag.tag == wanted.tag)
        statement = statement.where(Device.id.in_(tagged))
    if wanted.text is not None:
        pattern = f"%{wanted.text.lower().translate(LIKE_ESCAPES)}%"
        statement = statement.where(
            or_(
                func.lower(Device.name).like(pattern, escape="\\"),
                func.lower(func.coalesce(Device.description, "")).like(pattern, escape="\\"),
            )
        )
    if wanted.last_seen_before is not None:
        statement = statement.where(Device.last_seen_at < wanted.last_seen_before)
    if wanted.status is not None:
        statement = statement.where(has_status(wanted.status, wanted.now))
    return statement


def has_status(status: DeviceStatus, now: datetime) -> ColumnElement[bool]:
    if status is DeviceStatus.UNKNOWN:
        return Device.last_seen_at.is_(None)
    silent_after_us = Device.heartbeat_interval_s * (MISSED_HEARTBEATS_MAX * US_PER_S)
    due_us = cast(Device.last_seen_at, BigInteger) + cast(silent_after_us, BigInteger)
    now_us = instant_to_us(now)
    heard = Device.last_seen_at.is_not(None)
    return and_(heard, due_us >= now_us if status is DeviceStatus.ONLINE else due_us < now_us)


async def save_last_seen(session: AsyncSession, seen: Mapping[str, datetime]) -> None:
    """Move ``last_seen_at`` forward, never back."""
    table = Device.__table__
    statement = (
        update(Device)
        .where(
            table.c.id == bindparam("device"),
            or_(table.c.last_seen_at.is_(None), table.c.last_seen_at < bindparam("at")),
        )
        .values(last_seen_at=bindparam("at"))
        .execution_options(synchronize_session=False)
    )
    connection = await session.connection()
    await connection.execute(statement, [{"device": d, "at": at} for d, at in sorted(seen.items())])


async def save_heartbeat(
    session: AsyncSession,
    scope: TenantScope,
    device_id: str,
    *,
    said: Mapping[str, Any],
    at: datetime,
) -> bool:
    """Keep what a device said of itself; False when there is no such device (any more)."""
    values: dict[str, Any] = {
        "last_heartbeat": dict(said),
        "last_heartbeat_at": at,
        "last_seen_at": at,
    }
    if said.get("firmware_version"):
        values["firmware_version"] = said["firmware_version"]
    changed = await rows_changed(
        session,
        update(Device)
        .where(visible(scope), Device.id == device_id)
        .values(**values)
        .execution_options(synchronize_session=False),
    )
    return changed == 1


def offline_after(device: Device) -> timedelta:
    """Return how long a device may be silent and still count as online."""
    return timedelta(seconds=device.heartbeat_interval_s * MISSED_HEARTBEATS_MAX)
