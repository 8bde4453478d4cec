"""Chooses what carries a station's events."""

from fieldstation.bus.memory import MemoryBus
from fieldstation.bus.ports import Bus
from fieldstation.bus.redis import RedisBus
from fieldstation.core.settings import RedisSettings


def event_bus(settings: RedisSettings, *, node_id: str) -> Bus:
    """Return this process' own bus, or one through Redis if there is one."""
    return MemoryBus() if settings.url is None else RedisBus(settings, node_id=node_id)
