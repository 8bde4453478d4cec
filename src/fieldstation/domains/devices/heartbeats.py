"""Keeps devices' signs of life, one by one and many at a time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from fieldstation.core.clock import us_to_instant
from fieldstation.core.errors import Invalid, NotFound
from fieldstation.db.database import Session
from fieldstation.domains.devices.queries import devices as queries
from fieldstation.domains.devices.schemas.devices import HeartbeatCreate
from fieldstation.domains.devices.service.devices import NO_DEVICE
from fieldstation.domains.identity.schemas import TenantScope


class HeartbeatLike(Protocol):
    """A heartbeat that came with telemetry."""

    @property
    def organization_id(self) -> str: ...
    @property
    def device_id(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def received_us(self) -> int: ...


async def keep_heartbeat(
    session: Session, scope: TenantScope, device_id: str, *, said: Mapping[str, Any], now: datetime
) -> None:
    """Keep a sign of life. Raises ``NotFound``."""
    if not await queries.save_heartbeat(session, scope, device_id, said=said, at=now):
        raise NotFound(NO_DEVICE)


async def keep_heartbeats(session: Session, heartbeats: Sequence[HeartbeatLike]) -> None:
    """Keep the newest of many; those of devices that are gone meanwhile are dropped."""
    newest = {heartbeat.device_id: heartbeat for heartbeat in heartbeats}
    for device_id, heartbeat in sorted(newest.items()):
        await queries.save_heartbeat(
            session,
            TenantScope(heartbeat.organization_id),
            device_id,
            said=decode_heartbeat(heartbeat.payload),
            at=us_to_instant(heartbeat.received_us),
        )


def decode_heartbeat(payload: bytes) -> Mapping[str, Any]:
    """Read a heartbeat. Raises ``Invalid``."""
    try:
        return msgspec.json.decode(payload or b"{}", type=HeartbeatCreate).said()
    except msgspec.DecodeError as error:
        raise Invalid(f"heartbeat: {error}.", code="invalid_heartbeat") from error
