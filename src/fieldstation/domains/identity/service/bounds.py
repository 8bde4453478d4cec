"""The quota of a station without plans: what the settings allow every organization."""

from collections.abc import Awaitable, Callable

from fieldstation.core.settings import BoundSettings
from fieldstation.db.database import Session
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.queries import people

Count = Callable[[Session, str], Awaitable[int]]


class OrganizationBounds:
    """Implements ``Quota`` for devices and members; of everything else there may be any number."""

    def __init__(self, settings: BoundSettings, count_devices: Count) -> None:
        self._bounds: dict[str, tuple[int, Count]] = {
            "devices": (settings.devices_per_organization_max, count_devices),
            "members": (settings.members_per_organization_max, count_members),
        }

    async def check(
        self, session: Session, organization_id: str, metric: str, *, adding: int
    ) -> None:
        """Count what there is; see ``Quota``."""
        if metric not in self._bounds:
            return
        limit, count = self._bounds[metric]
        used = await count(session, organization_id)
        if used + adding > limit:
            raise errors.quota_exceeded(metric, limit=limit, used=used)


async def count_members(session: Session, organization_id: str) -> int:
    return await people.count_members(session, organization_id, filters={})
