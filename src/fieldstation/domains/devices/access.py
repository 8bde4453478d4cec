"""Who may see, change and speak for devices."""

from typing import Annotated

from fastapi import Depends

from fieldstation.core.errors import Forbidden, NotFound
from fieldstation.domains.devices.service.devices import NO_DEVICE
from fieldstation.domains.identity.access import Caller, require

DeviceReader = Annotated[Caller, Depends(require("devices:read", "device"))]
DeviceViewer = Annotated[Caller, Depends(require("devices:read"))]
DeviceWriter = Annotated[Caller, Depends(require("devices:write"))]


async def the_device_itself(
    device_id: str, caller: Annotated[Caller, Depends(require("device"))]
) -> Caller:
    """Give the device that speaks of itself; another device's id is as good as missing."""
    if caller.device_id is None:
        raise Forbidden("This is for the device itself; use its device key.", scope="device")
    if caller.device_id != device_id:
        raise NotFound(NO_DEVICE)
    return caller


TheDevice = Annotated[Caller, Depends(the_device_itself)]
