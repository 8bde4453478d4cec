"""Writes the audit trail and chains it, so that a changed or missing row shows."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from fieldstation.core.correlation import current_ids
from fieldstation.core.ids import new_id
from fieldstation.db.database import Session
from fieldstation.domains.audit import queries
from fieldstation.domains.audit.models import AuditEntry
from fieldstation.domains.audit.schemas import Actor, Change

LINKS_PER_TURN_MAX = 500
FIRST_HASH = "0" * 64


def record(
    session: Session, change: Change, *, actor: Actor, organization_id: str | None, now: datetime
) -> None:
    """Add one row for one changed entity, in the caller's transaction."""
    queries.add_entry(
        session,
        AuditEntry(
            id=new_id(),
            organization_id=organization_id,
            at=now,
            actor_kind=actor.kind,
            actor_id=actor.id,
            peer=actor.peer,
            action=change.action,
            entity_kind=change.entity_kind,
            entity_id=change.entity_id,
            before=change.before,
            after=change.after,
            correlation_id=current_ids()[0],
        ),
    )


async def chain_new_entries(session: Session) -> int:
    """Link the rows that have no place in the chain yet; return how many."""
    last = await queries.newest_chained(session)
    number, digest = (0, FIRST_HASH) if last is None else (last.chain_number, last.chain_hash)
    entries = await queries.unchained(session, limit=LINKS_PER_TURN_MAX)
    for entry in entries:
        number, digest = (number or 0) + 1, link_hash(digest or FIRST_HASH, entry)
        entry.chain_number, entry.chain_hash = number, digest
    return len(entries)


async def verify_chain(session: Session) -> int | None:
    """Return the number of the first link that does not fit, or None when the whole chain holds."""
    number, digest = 0, FIRST_HASH
    while entries := await queries.chained_after(session, number, limit=LINKS_PER_TURN_MAX):
        for entry in entries:
            digest = link_hash(digest, entry)
            if entry.chain_number != number + 1 or entry.chain_hash != digest:
                return number + 1
            number += 1
    return None


def link_hash(previous: str, entry: AuditEntry) -> str:
    """Return SHA-256 over the link before and everything this row says."""
    said: Mapping[str, Any] = {
        "id": entry.id,
        "organization_id": entry.organization_id,
        "at": entry.at.isoformat(),
        "actor": [entry.actor_kind, entry.actor_id, entry.peer],
        "action": entry.action,
        "entity": [entry.entity_kind, entry.entity_id],
        "before": entry.before,
        "after": entry.after,
        "correlation_id": entry.correlation_id,
    }
    encoded = msgspec.json.encode(said, order="deterministic")
    return hashlib.sha256(previous.encode() + encoded).hexdigest()
