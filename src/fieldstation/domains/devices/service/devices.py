"""Decides about devices: registering, describing, keys, signs of life."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from fieldstation.core.errors import Invalid, NotFound
from fieldstation.core.ids import new_id
from fieldstation.db import outbox
from fieldstation.db.database import Session, announce
from fieldstation.domains.audit.schemas import STATION, Actor, Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.devices.events import DeviceDeleted, DeviceRegistered
from fieldstation.domains.devices.models import Device, DeviceTag
from fieldstation.domains.devices.queries import devices as queries
from fieldstation.domains.devices.queries.devices import offline_after
from fieldstation.domains.devices.schemas.devices import (
    PROPERTIES_BYTES_MAX,
    DeviceCreate,
    DeviceFilter,
    DeviceRead,
    DeviceRegistration,
    DeviceStatus,
    DeviceUpdate,
    KeyCreate,
    KeyIssued,
    KeyRead,
)
from fieldstation.domains.identity.ports import Quota
from fieldstation.domains.identity.schemas import Caller, TenantScope
from fieldstation.domains.identity.service import keys
from fieldstation.web.etags import ANY, Expected
from fieldstation.web.pagination import Listed, PageRequest, cut_page
from fieldstation.web.sorting import parse_sort

PURGE_TOPIC = "telemetry.delete_device"
NO_DEVICE = "There is no such device."
FIRST_KEY_NAME = "first key"
CERTIFICATE_KEY_NAME = "certificate"
METRIC = "devices"
AUDITED = (
    "name",
    "device_type",
    "description",
    "location",
    "tags",
    "properties",
    "firmware_version",
    "heartbeat_interval_s",
)
NOT_NULLABLE = frozenset({"name", "device_type", "tags", "properties", "heartbeat_interval_s"})


async def register_device(
    session: Session, caller: Caller, form: DeviceCreate, *, quota: Quota, now: datetime
) -> DeviceRegistration:
    """Create a device with its first key, whose secret is in the answer and nowhere else.

    Raises ``QuotaExceeded`` and ``Invalid``.
    """
    await quota.check(session, caller.organization_id, METRIC, adding=1)
    device = add_device(session, caller.organization_id, form, actor=caller.actor, now=now)
    await session.flush()
    _, secret = await keys.issue_key(
        session,
        caller.organization_id,
        kind="device",
        subject_id=device.id,
        name=FIRST_KEY_NAME,
        actor=caller.actor,
        now=now,
    )
    return DeviceRegistration(**read(device, now).model_dump(), api_key=secret)


async def count_devices(session: Session, organization_id: str) -> int:
    """Count an organization's devices; the cost grows with them."""
    return await queries.count_all(session, organization_id)


def add_device(
    session: Session,
    organization_id: str,
    form: DeviceCreate,
    *,
    actor: Actor,
    now: datetime,
    device_id: str = "",
) -> Device:
    """Create a device without a key; ``device_id`` is one that it had elsewhere.

    Raises ``Invalid``.
    """
    check_properties(form.properties)
    device = Device(
        id=device_id or new_id(),
        organization_id=organization_id,
        created_at=now,
        updated_at=now,
        last_seen_at=None,
        last_heartbeat=None,
        last_heartbeat_at=None,
        properties={},
        tag_rows=[],
    )
    describe(device, form.model_dump(mode="json"))
    queries.add_device(session, device)
    change = Change("device.registered", "device", device.id, after=audited(device))
    record(session, change, actor=actor, organization_id=organization_id, now=now)
    announce(session, DeviceRegistered(organization_id=organization_id, device_id=device.id))
    return device


async def list_devices(
    session: Session,
    scope: TenantScope,
    *,
    wanted: DeviceFilter,
    page: PageRequest,
    sort: str | None = None,
) -> tuple[list[DeviceRead], str | None, int | None]:
    """Return one page, newest first unless ``sort`` says otherwise, the next cursor, and the count
    if it was asked for.

    Raises ``Invalid`` for a foreign cursor or order.
    """
    order = parse_sort(sort, sortable=queries.SORTABLE, default="-created_at")
    rows = await queries.list_devices(
        session,
        scope,
        wanted=wanted,
        order=order,
        after=order.after(page),
        limit=page.limit + 1,
    )
    kept, next_cursor = cut_page(rows, page, lambda row: order.key(row, row.id))
    total = None
    if page.include_total:
        total = await queries.count_devices(session, scope, wanted=wanted)
    return [read(device, wanted.now) for device in kept], next_cursor, total


async def get_device(
    session: Session, scope: TenantScope, device_id: str, *, now: datetime
) -> DeviceRead:
    """Return a device. Raises ``NotFound``."""
    return read(await find(session, scope, device_id), now)


async def require_device(session: Session, scope: TenantScope, device_id: str) -> None:
    """Return if the caller may see such a device. Raises ``NotFound``."""
    if not await queries.device_exists(session, scope, device_id):
        raise NotFound(NO_DEVICE)


async def tags_of(
    session: Session, scope: TenantScope, device_ids: Collection[str]
) -> Mapping[str, Sequence[str]]:
    """Return the tags of those devices that have some."""
    return await queries.tags_of(session, scope, sorted(device_ids))


async def replace_device(
    session: Session,
    caller: Caller,
    device_id: str,
    form: DeviceCreate,
    *,
    now: datetime,
    match: Expected = ANY,
) -> DeviceRead:
    """Describe a device anew: what the form leaves out takes its default.

    Raises ``NotFound``, ``Invalid``.
    """
    fields = form.model_dump(mode="json")
    return await change_device(session, caller, device_id, fields, now=now, match=match)


async def update_device(
    session: Session,
    caller: Caller,
    device_id: str,
    form: DeviceUpdate,
    *,
    now: datetime,
    match: Expected = ANY,
) -> DeviceRead:
    """Change only the fields that were sent. Raises ``NotFound``, ``Invalid``."""
    fields = form.model_dump(mode="json", exclude_unset=True)
    for name in sorted(NOT_NULLABLE & fields.keys()):
        if fields[name] is None:
            raise Invalid(
                f"{name}: cannot be null; leave it out to keep it.",
                errors=[{"loc": ["body", name], "msg": "cannot be null", "type": "null"}],
            )
    return await change_device(session, caller, device_id, fields, now=now, match=match)


async def change_device(
    session: Session,
    caller: Caller,
    device_id: str,
    fields: Mapping[str, Any],
    *,
    now: datetime,
    match: Expected = ANY,
) -> DeviceRead:
    device = await find(session, caller.scope, device_id, lock=True)
    match.demand(read(device, now))
    if "properties" in fields:
        check_properties(fields["properties"])
    before = audited(device)
    describe(device, fields)
    after = audited(device)
    changed = [name for name in AUDITED if before[name] != after[name]]
    if changed:
        device.updated_at = now
        change = Change(
            "device.updated",
            "device",
            device.id,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
        organization_id = device.organization_id
        record(session, change, actor=caller.actor, organization_id=organization_id, now=now)
    return read(device, now)


async def delete_device(
    session: Session,
    caller: Caller,
    device_id: str,
    *,
    purge: bool,
    now: datetime,
    match: Expected = ANY,
) -> None:
    """Remove a device and end its keys at once; with ``purge`` its readings go too, soon after.

    Raises ``NotFound``.
    """
    device = await find(session, caller.scope, device_id, lock=True)
    match.demand(read(device, now))
    organization_id = device.organization_id
    await keys.revoke_subject(session, organization_id, subject_id=device.id, now=now)
    await queries.delete_device(session, device)
    change = Change("device.deleted", "device", device.id, before=audited(device))
    record(session, change, actor=caller.actor, organization_id=organization_id, now=now)
    if purge:
        payload = {"organization_id": organization_id, "device_id": device.id}
        outbox.put(session, PURGE_TOPIC, payload=payload, now=now)
    announce(session, DeviceDeleted(organization_id=organization_id, device_id=device.id))


async def add_key(
    session: Session, caller: Caller, device_id: str, form: KeyCreate, *, now: datetime
) -> KeyIssued:
    """Give a device a further key; the old ones stay valid.

    Raises ``NotFound``, ``Conflict`` at the limit.
    """
    await require_device(session, caller.scope, device_id)
    key, secret = await keys.issue_key(
        session,
        caller.organization_id,
        kind="device",
        subject_id=device_id,
        name=form.name,
        expires_at=form.expires_at,
        actor=caller.actor,
        now=now,
    )
    return KeyIssued(
        **KeyRead.model_validate(key, from_attributes=True).model_dump(), api_key=secret
    )


async def bind_certificate(
    session: Session, device_id: str, token: str, *, expires_at: datetime, now: datetime
) -> None:
    """Let a device in with the key that its certificate stands for, by order of the operator.

    Raises ``NotFound``, ``Conflict`` at the limit of keys.
    """
    organization_id = await queries.organization_of(session, device_id)
    if organization_id is None:
        raise NotFound("There is no such device.")
    await keys.issue_key(
        session,
        organization_id,
        kind="device",
        subject_id=device_id,
        name=f"{CERTIFICATE_KEY_NAME} until {expires_at:%Y-%m-%d}",
        expires_at=expires_at,
        secret=token,
        actor=STATION,
        now=now,
    )


async def list_keys(
    session: Session,
    scope: TenantScope,
    device_id: str,
    *,
    page: PageRequest,
    sort: str | None = None,
) -> Listed[KeyRead]:
    """Return a page of a device's live keys, without their secrets.

    Raises ``NotFound``, ``Invalid`` for a foreign cursor or order.
    """
    await require_device(session, scope, device_id)
    found = await keys.page_of_keys(
        session, scope.organization_id, subject_id=device_id, page=page, sort=sort
    )
    items = [KeyRead.model_validate(key) for key in found.items]
    return Listed(items=items, next_cursor=found.next_cursor, total=found.total)


async def revoke_key(
    session: Session,
    caller: Caller,
    device_id: str,
    key_id: str,
    *,
    now: datetime,
    match: Expected = ANY,
) -> None:
    """End one key of a device, open connections included.

    Raises ``NotFound``, ``PreconditionFailed``.
    """
    await require_device(session, caller.scope, device_id)
    await keys.revoke_key(
        session,
        caller.organization_id,
        subject_id=device_id,
        key_id=key_id,
        actor=caller.actor,
        now=now,
        demand=lambda key: match.demand(KeyRead.model_validate(key)),
    )


async def find(
    session: Session, scope: TenantScope, device_id: str, *, lock: bool = False
) -> Device:
    device = await queries.find_device(session, scope, device_id, lock=lock)
    if device is None:
        raise NotFound(NO_DEVICE)
    return device


def describe(device: Device, fields: Mapping[str, Any]) -> None:
    for name, content in fields.items():
        if name == "tags":
            set_tags(device, content)
        else:
            setattr(device, name, content)


def set_tags(device: Device, tags: Sequence[str]) -> None:
    wanted = set(tags)
    kept = [row for row in device.tag_rows if row.tag in wanted]
    known = {row.tag for row in kept}
    device.tag_rows = kept + [DeviceTag(tag=tag) for tag in sorted(wanted - known)]


def check_properties(properties: Mapping[str, Any]) -> None:
    if len(msgspec.json.encode(properties)) > PROPERTIES_BYTES_MAX:
        raise Invalid(
            f"properties: at most {PROPERTIES_BYTES_MAX} bytes.",
            errors=[{"loc": ["body", "properties"], "msg": "too large", "type": "too_long"}],
        )


def audited(device: Device) -> dict[str, Any]:
    return {name: getattr(device, name) for name in AUDITED}


def read(device: Device, now: datetime) -> DeviceRead:
    fields = {name: getattr(device, name) for name in DeviceRead.model_fields if name != "status"}
    return DeviceRead.model_validate({**fields, "status": status_of(device, now)})


def status_of(device: Device, now: datetime) -> DeviceStatus:
    """Return whether a device was heard from lately, judged by its newest message."""
    if device.last_seen_at is None:
        return DeviceStatus.UNKNOWN
    silent: timedelta = now - device.last_seen_at
    return DeviceStatus.ONLINE if silent <= offline_after(device) else DeviceStatus.OFFLINE
