"""Devices that nobody registers: the gateway of MQTT clients, and those of another station."""

import re
from collections.abc import Mapping
from datetime import datetime

from fieldstation.core.errors import Conflict, Invalid
from fieldstation.db.database import Session
from fieldstation.domains.audit.schemas import STATION
from fieldstation.domains.devices.queries import devices as queries
from fieldstation.domains.devices.schemas.devices import DeviceCreate, DeviceType
from fieldstation.domains.devices.service.devices import add_device
from fieldstation.domains.identity.schemas import TenantScope

GATEWAY_NAME = "mqtt"
ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def ensure_gateway(session: Session, organization_id: str, *, now: datetime) -> str:
    """Return the id of the organization's gateway device ``mqtt``, made on first use."""
    scope = TenantScope(organization_id)
    found = await queries.find_by_name(
        session, scope, name=GATEWAY_NAME, device_type=DeviceType.GATEWAY
    )
    if found is None:
        form = DeviceCreate(
            name=GATEWAY_NAME,
            device_type=DeviceType.GATEWAY,
            description="What MQTT clients publish on shared topics with a user's key.",
        )
        found = add_device(session, organization_id, form, actor=STATION, now=now)
    return found.id


async def match_devices(
    session: Session, organization_id: str, wanted: Mapping[str, str]
) -> dict[str, str | None]:
    """Return, for ids that files use, the device that is meant: one's id, or its only name.

    None: the organization has none, or several of that name.
    """
    scope = TenantScope(organization_id)
    found: dict[str, str | None] = {}
    for device_id, meant in wanted.items():
        if await queries.device_exists(session, scope, meant):
            found[device_id] = meant
            continue
        ids = await queries.ids_by_name(session, scope, meant)
        found[device_id] = ids[0] if len(ids) == 1 else None
    return found


async def adopt_device(
    session: Session, organization_id: str, device_id: str, *, now: datetime
) -> None:
    """Create a device under the id that it had on another station.

    Raises ``Conflict`` when another organization has it, ``Invalid`` for what is no id.
    """
    if not ID.fullmatch(device_id):
        raise Invalid(f"{device_id[:40]} is no id of a device; name the one that is meant.")
    if await queries.organization_of(session, device_id) is not None:
        raise Conflict(
            f"Another organization of this station has the device {device_id}; name the one that "
            "is meant."
        )
    form = DeviceCreate(name=f"imported {device_id[:13]}", description="Made by an import.")
    add_device(session, organization_id, form, actor=STATION, now=now, device_id=device_id)
