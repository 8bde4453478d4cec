"""Ends credentials on every node at once."""

from collections.abc import Iterable
from datetime import datetime

from fieldstation.core.ids import new_id
from fieldstation.db.database import Session, announce
from fieldstation.domains.identity.events import CredentialRevoked
from fieldstation.domains.identity.models import Revocation
from fieldstation.domains.identity.queries import credentials as queries
from fieldstation.domains.identity.schemas.callers import (
    changed_subject,
    membership_subject,
)


def revoke(session: Session, subject: str, *, now: datetime) -> None:
    """End every caller with this subject: a row for the other nodes, an event for this one."""
    row = Revocation(id=new_id(), subject=subject, at=now)
    queries.add(session, row)
    announce(session, CredentialRevoked(revocation_id=row.id, subject=subject, at=now))


def revoke_membership(
    session: Session, *, user_id: str, organization_id: str, now: datetime
) -> None:
    """End the user's callers in this organization; those in others go on."""
    revoke(session, membership_subject(user_id, organization_id), now=now)


def note_change(session: Session, entity_id: str, *, now: datetime) -> None:
    """Make every node read a user or organization afresh; nobody is thrown out."""
    revoke(session, changed_subject(entity_id), now=now)


async def revoke_families(session: Session, family_ids: Iterable[str], *, now: datetime) -> None:
    """End sessions: their refresh tokens and the access tokens that came from them."""
    for family_id in family_ids:
        await queries.revoke_family(session, family_id, now=now)
        revoke(session, family_id, now=now)
