"""Facts about devices."""

from fieldstation.core.events import Event


class DeviceRegistered(Event, frozen=True, kw_only=True, tag=True):
    """A device exists from now on."""

    organization_id: str
    device_id: str


class DeviceDeleted(Event, frozen=True, kw_only=True, tag=True):
    """A device is gone, and its keys with it."""

    organization_id: str
    device_id: str
