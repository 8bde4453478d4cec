"""When each device was last heard from: noted in memory, saved every few seconds."""

from datetime import datetime

from fieldstation.core.clock import Clock
from fieldstation.db.database import Database
from fieldstation.domains.devices.queries import devices as queries

FLUSH_INTERVAL_S = 3.0


class LastSeen:
    """Bounded by the devices that talk to this node between two flushes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[str, datetime] = {}

    def note(self, device_id: str) -> None:
        """The device showed life just now."""
        self._seen[device_id] = self._clock.now()

    async def flush(self) -> int:
        """Save what was noted; return how many devices that was.

        Raises ``Busy``, keeping the notes.
        """
        seen = self._seen
        self._seen = {}
        if not seen:
            return 0
        try:
            async with self._database.transaction() as session:
                await queries.save_last_seen(session, seen)
        except BaseException:
            self._seen = {**seen, **self._seen}
            raise
        return len(seen)
