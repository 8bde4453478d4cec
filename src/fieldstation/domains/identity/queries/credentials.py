"""Every statement on API keys, refresh tokens, tickets, revocations and failed logins."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    Select,
    Table,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.core.errors import Conflict
from fieldstation.db.base import Base
from fieldstation.db.keyset import SortField, by_instant, by_text, sorted_behind
from fieldstation.db.statements import affected
from fieldstation.domains.identity.models import (
    ApiKey,
    LoginThrottle,
    Membership,
    Organization,
    RefreshToken,
    Revocation,
    SocketTicket,
    User,
)
from fieldstation.web.sorting import Order

REVOCATIONS_PER_PAGE = 1_000
KEY_SORTABLE: Mapping[str, SortField[ApiKey]] = {
    "created_at": by_instant(ApiKey.created_at, lambda key: key.created_at),
    "name": by_text(ApiKey.name, lambda key: key.name),
}


def add(session: AsyncSession, row: Base) -> None:
    session.add(row)


# API keys


async def key_by_hash(
    session: AsyncSession, secret_hash: str
) -> tuple[ApiKey, Organization] | None:
    """Return a key with its organization, revoked or expired ones too."""
    found = await session.execute(
        select(ApiKey, Organization)
        .join(Organization, Organization.id == ApiKey.organization_id)
        .where(ApiKey.secret_hash == secret_hash)
    )
    row = found.one_or_none()
    return None if row is None else (row[0], row[1])


async def live_key(
    session: AsyncSession, organization_id: str, *, subject_id: str, key_id: str
) -> ApiKey | None:
    """Return a key that is not revoked, locked until the transaction ends."""
    return await session.scalar(
        select(ApiKey)
        .where(
            ApiKey.id == key_id,
            ApiKey.organization_id == organization_id,
            ApiKey.subject_id == subject_id,
            ApiKey.revoked_at.is_(None),
        )
        .with_for_update()
    )


async def live_keys(
    session: AsyncSession, organization_id: str, *, subject_id: str
) -> Sequence[ApiKey]:
    """Return the subject's unrevoked keys, oldest first; their number is bounded at issue."""
    rows = await session.scalars(keys_of(organization_id, subject_id).order_by(ApiKey.id))
    return rows.all()


async def page_of_keys(
    session: AsyncSession,
    organization_id: str,
    *,
    subject_id: str,
    order: Order[ApiKey],
    after: Sequence[Any] | None,
    limit: int,
) -> Sequence[ApiKey]:
    """Return unrevoked keys in an order, strictly behind a sort key."""
    statement = sorted_behind(
        keys_of(organization_id, subject_id),
        order.fields,
        after,
        sortable=order.sortable,
        row_id=ApiKey.id,
    )
    return (await session.scalars(statement.limit(limit))).all()


def keys_of(organization_id: str, subject_id: str) -> Select[ApiKey]:
    return select(ApiKey).where(
        ApiKey.organization_id == organization_id,
        ApiKey.subject_id == subject_id,
        ApiKey.revoked_at.is_(None),
    )


async def revoke_keys(
    session: AsyncSession, organization_id: str, *, subject_id: str, now: datetime
) -> None:
    await session.execute(
        update(ApiKey)
        .where(
            ApiKey.organization_id == organization_id,
            ApiKey.subject_id == subject_id,
            ApiKey.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )


async def note_key_uses(session: AsyncSession, uses: Sequence[tuple[str, datetime]]) -> None:
    """Write when keys were last used, ``(key id, instant)``; keys that are gone do not matter."""
    keys = cast(Table, ApiKey.__table__)
    connection = await session.connection()
    await connection.execute(
        update(keys).where(keys.c.id == bindparam("key")).values(last_used_at=bindparam("at")),
        [{"key": key_id, "at": at} for key_id, at in uses],
    )


# Refresh tokens


async def refresh_token(session: AsyncSession, token_hash: str) -> RefreshToken | None:
    return await session.scalar(select(RefreshToken).where(RefreshToken.token_hash == token_hash))


async def use_refresh_token(session: AsyncSession, token_id: str, *, now: datetime) -> bool:
    """Mark a token as used; of several who try, exactly one is told True."""
    used = await session.execute(
        update(RefreshToken)
        .where(
            RefreshToken.id == token_id,
            RefreshToken.used_at.is_(None),
            RefreshToken.revoked_at.is_(None),
            RefreshToken.expires_at > now,
        )
        .values(used_at=now)
        .execution_options(synchronize_session=False)
    )
    return affected(used) == 1


async def live_families(session: AsyncSession, user_id: str, *, now: datetime) -> Sequence[str]:
    """Return the user's sessions, the latest used first."""
    rows = await session.scalars(
        select(RefreshToken.family_id)
        .where(
            RefreshToken.user_id == user_id,
            RefreshToken.used_at.is_(None),
            RefreshToken.revoked_at.is_(None),
            RefreshToken.expires_at > now,
        )
        .order_by(RefreshToken.id.desc())
    )
    return rows.all()


async def revoke_family(session: AsyncSession, family_id: str, *, now: datetime) -> None:
    await session.execute(
        update(RefreshToken)
        .where(RefreshToken.family_id == family_id, RefreshToken.revoked_at.is_(None))
        .values(revoked_at=now)
        .execution_options(synchronize_session=False)
    )


# Tickets


async def ticket(session: AsyncSession, token_hash: str) -> SocketTicket | None:
    return await session.scalar(select(SocketTicket).where(SocketTicket.token_hash == token_hash))


async def drop_older_tickets(
    session: AsyncSession,
    organization_id: str,
    *,
    user_id: str | None,
    device_id: str | None,
    keep: int,
) -> None:
    """Delete all but the newest tickets of a user or device in an organization."""
    older = (
        select(SocketTicket.id)
        .where(
            SocketTicket.organization_id == organization_id,
            SocketTicket.user_id == user_id,
            SocketTicket.device_id == device_id,
        )
        .order_by(SocketTicket.created_at.desc(), SocketTicket.id.desc())
        .offset(keep)
    )
    await session.execute(
        delete(SocketTicket)
        .where(SocketTicket.id.in_(older))
        .execution_options(synchronize_session=False)
    )


async def take_ticket(session: AsyncSession, ticket_id: str) -> bool:
    """Delete a ticket; of several who try, exactly one is told True."""
    taken = await session.execute(
        delete(SocketTicket)
        .where(SocketTicket.id == ticket_id)
        .execution_options(synchronize_session=False)
    )
    return affected(taken) == 1


# Revocations


async def any_revoked(
    session: AsyncSession, subjects: Collection[str], *, since: datetime | None = None
) -> bool:
    """Tell whether one of the subjects was revoked (at or after ``since``)."""
    condition = Revocation.subject.in_(subjects)
    if since is not None:
        condition &= Revocation.at >= since
    return await session.scalar(select(Revocation.id).where(condition).limit(1)) is not None


async def newest_revocation_at(session: AsyncSession) -> datetime | None:
    return await session.scalar(select(func.max(Revocation.at)))


async def revocations_since(
    session: AsyncSession, since: datetime
) -> list[tuple[str, str, datetime]]:
    """Return id, subject and instant of what was revoked at or after ``since``, oldest first."""
    found: list[tuple[str, str, datetime]] = []
    after_at, after_id = since, ""
    while True:
        rows = await session.execute(
            select(Revocation.id, Revocation.subject, Revocation.at)
            .where(
                (Revocation.at > after_at)
                | ((Revocation.at == after_at) & (Revocation.id > after_id))
            )
            .order_by(Revocation.at, Revocation.id)
            .limit(REVOCATIONS_PER_PAGE)
        )
        page = [(row[0], row[1], row[2]) for row in rows]
        found += page
        if len(page) < REVOCATIONS_PER_PAGE:
            return found
        after_id, _, after_at = page[-1]


# Failed logins


async def throttle(session: AsyncSession, key: str) -> LoginThrottle | None:
    return await session.scalar(select(LoginThrottle).where(LoginThrottle.key == key))


async def locked_throttle(session: AsyncSession, key: str) -> LoginThrottle | None:
    """Return an account's failed logins; other transactions wait for them until this one ends."""
    return await session.scalar(
        select(LoginThrottle).where(LoginThrottle.key == key).with_for_update()
    )


async def insert_throttle(session: AsyncSession, row: LoginThrottle) -> None:
    """Insert a row now. Raises ``Conflict`` when another transaction was faster."""
    session.add(row)
    try:
        await session.flush()
    except IntegrityError as error:
        raise Conflict("Another login failed at the same time.") from error


async def clear_throttle(session: AsyncSession, key: str) -> None:
    await session.execute(delete(LoginThrottle).where(LoginThrottle.key == key))


# What a credential stands for


async def user(session: AsyncSession, user_id: str) -> User | None:
    return await session.get(User, user_id)


async def memberships(
    session: AsyncSession, user_id: str, *, limit: int
) -> Sequence[tuple[Membership, Organization]]:
    """Return the user's organizations, the oldest membership first."""
    rows = await session.execute(
        select(Membership, Organization)
        .join(Organization, Organization.id == Membership.organization_id)
        .where(Membership.user_id == user_id)
        .order_by(Membership.created_at, Membership.organization_id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


async def active_role(session: AsyncSession, *, user_id: str, organization_id: str) -> str | None:
    """Return what an active user is in an organization; None for nobody or a stranger."""
    return await session.scalar(
        select(Membership.role)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.user_id == user_id,
            Membership.organization_id == organization_id,
            User.is_active,
        )
    )


# Housekeeping


async def purge(
    session: AsyncSession,
    *,
    now: datetime,
    revoked_before: datetime,
    throttled_before: datetime,
    keys_revoked_before: datetime,
) -> int:
    """Delete what can no longer matter; return how many rows."""
    deleted = [
        await session.execute(statement.execution_options(synchronize_session=False))
        for statement in (
            delete(RefreshToken).where(RefreshToken.expires_at < now),
            delete(SocketTicket).where(SocketTicket.expires_at < now),
            delete(Revocation).where(Revocation.at < revoked_before),
            delete(LoginThrottle).where(LoginThrottle.updated_at < throttled_before),
            delete(ApiKey).where(ApiKey.revoked_at < keys_revoked_before),
        )
    ]
    return sum(affected(result) for result in deleted)
