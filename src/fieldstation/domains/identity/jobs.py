"""Identity's background work: revocations of other nodes, uses of keys, housekeeping."""

import asyncio
from datetime import datetime, timedelta

import structlog

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy
from fieldstation.core.events import Publish
from fieldstation.core.settings import AuthSettings
from fieldstation.db.database import Database
from fieldstation.domains.identity.events import CredentialRevoked
from fieldstation.domains.identity.service import housekeeping
from fieldstation.domains.identity.service.authenticator import Authenticator

log = structlog.get_logger(__name__)

REVOCATIONS_INTERVAL_S = 0.5
KEY_USES_INTERVAL_S = 30.0
# As long as a transaction may take (its rows show up at its end) and nodes' clocks may differ.
LOOK_BACK = timedelta(seconds=30)


class RevocationWatch:
    """Publishes on this node what other nodes revoked, twice a second."""

    def __init__(self, database: Database, clock: Clock, publish: Publish) -> None:
        self._database = database
        self._clock = clock
        self._publish = publish
        self._newest_at: datetime | None = None
        self._seen: dict[str, datetime] = {}

    async def run_forever(self) -> None:
        """Poll until cancelled; a database that is away only delays the next look."""
        while True:
            try:
                await self.poll()
            except Busy as error:
                log.warning("revocations_delayed", reason=error.detail)
            await asyncio.sleep(REVOCATIONS_INTERVAL_S)

    async def poll(self) -> int:
        """Publish what was revoked since the last look; return how many revocations."""
        newest_at = self._newest_at or await housekeeping.newest_revocation_at(self._database)
        since = min(newest_at or self._clock.now(), self._clock.now()) - LOOK_BACK
        found = await housekeeping.revocations_since(self._database, since)
        fresh = [event for event in found if event.revocation_id not in self._seen]
        self._newest_at = found[-1].at if found else newest_at
        self._seen = {name: at for name, at in self._seen.items() if at >= since}
        for event in fresh:
            self.hear(event)
            self._publish(event)
        return len(fresh)

    def hear(self, event: CredentialRevoked) -> None:
        """Note a revocation that this node announced itself, so that it is not published again."""
        self._seen[event.revocation_id] = event.at


async def note_key_uses(authenticator: Authenticator, database: Database) -> None:
    """Store when this node's keys were last used, best effort."""
    uses = authenticator.take_key_uses()
    try:
        await housekeeping.note_key_uses(database, uses)
    except Busy as error:
        log.warning("key_uses_dropped", keys=len(uses), reason=error.detail)


async def purge_expired(database: Database, clock: Clock, settings: AuthSettings) -> int:
    """Delete expired refresh tokens and tickets and old revocations; return how many rows."""
    return await housekeeping.purge(database, now=clock.now(), settings=settings)
