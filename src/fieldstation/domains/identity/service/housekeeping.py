"""Reads what other nodes revoked, writes when keys were used, deletes what is over."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from fieldstation.core.settings import AuthSettings
from fieldstation.db.database import Database
from fieldstation.domains.identity.events import CredentialRevoked
from fieldstation.domains.identity.queries import credentials as queries

KEY_USES_PER_TRANSACTION_MAX = 1_000
REVOCATIONS_KEPT = timedelta(days=1)
THROTTLES_KEPT = timedelta(days=1)
REVOKED_KEYS_KEPT = timedelta(days=90)


async def newest_revocation_at(database: Database) -> datetime | None:
    async with database.reading() as session:
        return await queries.newest_revocation_at(session)


async def revocations_since(database: Database, since: datetime) -> list[CredentialRevoked]:
    """Return what was revoked at or after an instant, oldest first."""
    async with database.reading() as session:
        rows = await queries.revocations_since(session, since)
    return [CredentialRevoked(revocation_id=row[0], subject=row[1], at=row[2]) for row in rows]


async def note_key_uses(database: Database, uses: Mapping[str, datetime]) -> None:
    """Store when keys were last used, ``{key id: instant}``."""
    # Sorted, so that two nodes that write the same keys wait for each other instead of deadlocking.
    pending = sorted(uses.items())
    for start in range(0, len(pending), KEY_USES_PER_TRANSACTION_MAX):
        async with database.transaction() as session:
            part = pending[start : start + KEY_USES_PER_TRANSACTION_MAX]
            await queries.note_key_uses(session, part)


async def purge(database: Database, *, now: datetime, settings: AuthSettings) -> int:
    """Delete what can no longer matter; a revocation outlives the tokens that it ended by a day."""
    access_lifetime = timedelta(minutes=settings.access_token_expire_minutes)
    async with database.transaction() as session:
        return await queries.purge(
            session,
            now=now,
            revoked_before=now - access_lifetime - REVOCATIONS_KEPT,
            throttled_before=now - THROTTLES_KEPT,
            keys_revoked_before=now - REVOKED_KEYS_KEPT,
        )
