"""Issues tickets for sockets, which cannot send headers, and redeems each once."""

from datetime import timedelta

from fieldstation.core.clock import Clock
from fieldstation.core.ids import new_id
from fieldstation.db.database import Database, Session
from fieldstation.domains.audit.schemas import Actor
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.models import SocketTicket
from fieldstation.domains.identity.queries import credentials as queries
from fieldstation.domains.identity.schemas.callers import Caller, Role, membership_subject
from fieldstation.domains.identity.schemas.credentials import TicketRead
from fieldstation.domains.identity.service.tokens import digest_of, new_secret

TICKETS_PER_CALLER_MAX = 20


async def issue(session: Session, caller: Caller, *, clock: Clock, lifetime_s: int) -> TicketRead:
    """Keep what the caller may do for whoever brings the ticket within ``lifetime_s``.

    Whoever has as many as there may be loses the oldest.
    """
    await queries.drop_older_tickets(
        session,
        caller.organization_id,
        user_id=caller.user_id,
        device_id=caller.device_id,
        keep=TICKETS_PER_CALLER_MAX - 1,
    )
    secret, now = new_secret(), clock.now()
    queries.add(
        session,
        SocketTicket(
            id=new_id(),
            token_hash=digest_of(secret),
            organization_id=caller.organization_id,
            user_id=caller.user_id,
            device_id=caller.device_id,
            role=caller.role,
            superuser=caller.superuser,
            scopes=sorted(caller.scopes),
            subjects=sorted(caller.subjects),
            created_at=now,
            expires_at=now + timedelta(seconds=lifetime_s),
            caller_expires_at=caller.expires_at,
        ),
    )
    return TicketRead(ticket=secret, expires_in=lifetime_s)


async def redeem(database: Database, ticket: str, *, clock: Clock, peer: str | None) -> Caller:
    """Return the ticket's caller; the ticket is gone afterwards.

    Raises ``Unauthenticated`` when it is unknown, used or expired, or its caller's rights ended.
    """
    async with database.transaction() as session:
        found = await queries.ticket(session, digest_of(ticket))
        taken = found is not None and await queries.take_ticket(session, found.id)
        stands = found is not None and await still_stands(session, found)
    if found is None or not (taken and stands) or is_late(found, clock):
        raise errors.bad_credential()
    return ticket_caller(found, peer)


async def still_stands(session: Session, ticket: SocketTicket) -> bool:
    """Tell whether the caller may still do what the ticket says.

    A node that had not yet heard of a revocation may have issued it: what ends for good counts
    whenever it ended; a user and a membership, which can come back, are looked at as they are now.
    """
    subjects = set(ticket.subjects)
    if await queries.any_revoked(session, subjects, since=ticket.created_at):
        return False
    if ticket.user_id is None:
        return not await queries.any_revoked(session, subjects)
    returning = {ticket.user_id, membership_subject(ticket.user_id, ticket.organization_id)}
    if await queries.any_revoked(session, subjects - returning):
        return False
    role = await queries.active_role(
        session, user_id=ticket.user_id, organization_id=ticket.organization_id
    )
    return role == ticket.role


def is_late(ticket: SocketTicket, clock: Clock) -> bool:
    ends = [ticket.expires_at, *filter(None, [ticket.caller_expires_at])]
    return min(ends) <= clock.now()


def ticket_caller(ticket: SocketTicket, peer: str | None) -> Caller:
    if ticket.user_id is not None:
        actor = Actor("user", ticket.user_id, peer)
    else:
        actor = Actor("device", ticket.device_id, peer)
    return Caller(
        organization_id=ticket.organization_id,
        user_id=ticket.user_id,
        device_id=ticket.device_id,
        scopes=frozenset(ticket.scopes),
        superuser=ticket.superuser,
        subjects=frozenset(ticket.subjects),
        expires_at=ticket.caller_expires_at,
        actor=actor,
        role=None if ticket.role is None else Role(ticket.role),
    )
