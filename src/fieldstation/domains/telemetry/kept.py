"""How far back readings are taken: what the intake asks of whoever knows the rules."""

from typing import Protocol

ALL_US = 1
"""From this instant on everything is taken; 0 stands for a time that is none."""


class Retention(Protocol):
    """Says from which instant on readings are kept; answers hold while ``version`` stays."""

    @property
    def version(self) -> int: ...

    def raw_from_us(self, organization_id: str, device_id: str, sensor_type: str) -> int:
        """Return the first instant of which readings are kept; ``ALL_US``: all are."""
        ...


class KeptForever:
    """Nothing is ever too old."""

    version = 0

    def raw_from_us(self, organization_id: str, device_id: str, sensor_type: str) -> int:
        del organization_id, device_id, sensor_type
        return ALL_US


FOREVER = KeptForever()
