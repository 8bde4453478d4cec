"""Which devices exist, from memory: for questions that come thousands of times a second."""

from collections import OrderedDict

from fieldstation.db.database import Database
from fieldstation.domains.devices.service import devices
from fieldstation.domains.identity.schemas import TenantScope

DEVICES_MAX = 50_000


class KnownDevices:
    """Remembers up to ``devices_max`` devices that were asked for; beyond them it drops the least
    recently used.

    One that is deleted is forgotten as its keys are: at once here, within a second on other nodes.
    """

    def __init__(self, database: Database, *, devices_max: int = DEVICES_MAX) -> None:
        self._database = database
        self._devices_max = devices_max
        self._organizations: OrderedDict[str, str] = OrderedDict()
        self._deletions = 0

    def remembers(self, scope: TenantScope, device_id: str) -> bool:
        """Tell whether a caller is known to see such a device. No I/O."""
        if self._organizations.get(device_id) != scope.organization_id:
            return False
        if scope.device_ids is not None and device_id not in scope.device_ids:
            return False
        self._organizations.move_to_end(device_id)
        return True

    async def require(self, scope: TenantScope, device_id: str) -> None:
        """Return if the caller may see such a device. Raises ``NotFound`` and ``Busy``."""
        if self.remembers(scope, device_id):
            return
        deletions = self._deletions
        async with self._database.reading() as session:
            await devices.require_device(session, scope, device_id)
        if deletions == self._deletions:  # else it may be this one that was deleted meanwhile
            self._remember(device_id, scope.organization_id)

    def forget(self, device_id: str) -> None:
        """Drop a device that was deleted; one being looked up is not remembered."""
        self._deletions += 1
        self._organizations.pop(device_id, None)

    def _remember(self, device_id: str, organization_id: str) -> None:
        self._organizations[device_id] = organization_id
        if len(self._organizations) > self._devices_max:
            self._organizations.popitem(last=False)
