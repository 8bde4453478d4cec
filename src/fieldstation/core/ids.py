"""How the station names things: UUIDv7 strings, sortable by birth."""

from typing import NewType

import uuid_utils

OrganizationId = NewType("OrganizationId", str)
UserId = NewType("UserId", str)
DeviceId = NewType("DeviceId", str)


def new_id() -> str:
    """Return a new UUIDv7 in its canonical 36-character form."""
    return str(uuid_utils.uuid7())
