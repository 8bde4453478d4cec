"""Every statement on users, organizations and memberships."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.db.database import broken
from fieldstation.db.keyset import SortField, by_instant, by_text, sorted_behind
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.models import Membership, Organization, User
from fieldstation.domains.identity.schemas.callers import Role
from fieldstation.web.sorting import Order

Member = tuple[User, Membership]

USER_SORTABLE: Mapping[str, SortField[Member]] = {
    "created_at": by_instant(User.created_at, lambda member: member[0].created_at),
    "updated_at": by_instant(User.updated_at, lambda member: member[0].updated_at),
    "email": by_text(User.email_key, lambda member: member[0].email_key),
}
MEMBER_SORTABLE: Mapping[str, SortField[Member]] = {
    "created_at": by_instant(Membership.created_at, lambda member: member[1].created_at),
    "email": USER_SORTABLE["email"],
}
ORGANIZATION_SORTABLE: Mapping[str, SortField[Organization]] = {
    "created_at": by_instant(Organization.created_at, lambda row: row.created_at),
    "updated_at": by_instant(Organization.updated_at, lambda row: row.updated_at),
    "name": by_text(Organization.name, lambda row: row.name),
    "slug": by_text(Organization.slug, lambda row: row.slug),
}


def person_key(name: str) -> str:
    """Return how an e-mail address or username is compared."""
    return name.strip().casefold()


async def insert(session: AsyncSession, row: User | Organization | Membership) -> None:
    """Insert a row now. Raises ``Conflict`` when something unique about it is taken."""
    session.add(row)
    await flush(session)


async def flush(session: AsyncSession) -> None:
    """Write what changed. Raises ``Conflict`` when something unique about it is taken."""
    try:
        await session.flush()
    except IntegrityError as error:
        message = broken(error)
        for sign in errors.TAKEN:
            if sign in message:
                raise errors.taken(sign) from error
        raise


async def user_by_login(session: AsyncSession, login: str) -> User | None:
    """Return the user with this e-mail address or, without an @, this username."""
    column = User.email_key if "@" in login else User.username_key
    return await session.scalar(select(User).where(column == person_key(login)))


async def user_by_id(session: AsyncSession, user_id: str) -> User | None:
    return await session.get(User, user_id)


async def locked_user(session: AsyncSession, user_id: str) -> User | None:
    """Return a user as they are now; other changes of their credentials wait for this transaction.

    Rows that only refer to the user need not wait (on PostgreSQL: FOR NO KEY UPDATE).
    """
    return await session.get(
        User, user_id, with_for_update={"key_share": True}, populate_existing=True
    )


async def users_after(session: AsyncSession, after_id: str | None, *, limit: int) -> Sequence[User]:
    """Return users of the whole station, oldest first."""
    statement = select(User).order_by(User.id).limit(limit)
    if after_id is not None:
        statement = statement.where(User.id > after_id)
    return (await session.scalars(statement)).all()


def members_of(organization_id: str, filters: Mapping[str, Any]) -> Select[User, Membership]:
    """Select an organization's members; filters ``role``, ``is_active``, ``q`` (part of a name)."""
    statement = (
        select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization_id)
    )
    if filters.get("role") is not None:
        statement = statement.where(Membership.role == filters["role"])
    if filters.get("is_active") is not None:
        statement = statement.where(User.is_active == filters["is_active"])
    if filters.get("q"):
        part = filters["q"].casefold()
        statement = statement.where(
            or_(
                User.email_key.contains(part, autoescape=True),
                User.username_key.contains(part, autoescape=True),
                func.lower(User.full_name).contains(part, autoescape=True),
            )
        )
    return statement


async def members(
    session: AsyncSession,
    organization_id: str,
    *,
    order: Order[Member],
    after: Sequence[Any] | None,
    limit: int,
    filters: Mapping[str, Any],
) -> Sequence[Member]:
    """Return members in an order, strictly behind a sort key."""
    statement = sorted_behind(
        members_of(organization_id, filters),
        order.fields,
        after,
        sortable=order.sortable,
        row_id=User.id,
    )
    return [(row[0], row[1]) for row in await session.execute(statement.limit(limit))]


async def count_members(
    session: AsyncSession, organization_id: str, *, filters: Mapping[str, Any]
) -> int:
    counted = members_of(organization_id, filters).with_only_columns(func.count())
    return await session.scalar(counted) or 0


async def member(session: AsyncSession, organization_id: str, *, user_id: str) -> Member | None:
    found = await session.execute(members_of(organization_id, {}).where(User.id == user_id))
    row = found.one_or_none()
    return None if row is None else (row[0], row[1])


async def delete_row(session: AsyncSession, row: Membership | Organization) -> bool:
    """Delete a row now; False when something of another domain still needs it."""
    await session.delete(row)
    try:
        await session.flush()
    except IntegrityError:
        return False
    return True


async def lock_organization(session: AsyncSession, organization_id: str) -> None:
    """Let other transactions that lock this organization wait until this one ends."""
    await session.execute(
        select(Organization.id)
        .where(Organization.id == organization_id)
        .with_for_update(key_share=True)
    )


async def count_other_owners(session: AsyncSession, organization_id: str, *, user_id: str) -> int:
    """Count active owners beside this user."""
    counted = members_of(organization_id, {"role": Role.OWNER, "is_active": True})
    return (
        await session.scalar(counted.where(User.id != user_id).with_only_columns(func.count())) or 0
    )


async def owned_organization_ids(session: AsyncSession, user_id: str) -> Sequence[str]:
    rows = await session.scalars(
        select(Membership.organization_id)
        .where(Membership.user_id == user_id, Membership.role == Role.OWNER)
        .order_by(Membership.organization_id)
    )
    return rows.all()


async def count_memberships(session: AsyncSession, user_id: str) -> int:
    return (
        await session.scalar(
            select(func.count()).select_from(Membership).where(Membership.user_id == user_id)
        )
        or 0
    )


async def organization(session: AsyncSession, organization_id: str) -> Organization | None:
    return await session.get(Organization, organization_id)


async def organization_by_slug(session: AsyncSession, slug: str) -> Organization | None:
    return await session.scalar(select(Organization).where(Organization.slug == slug))


async def first_organization(session: AsyncSession) -> Organization | None:
    return await session.scalar(
        select(Organization).order_by(Organization.created_at, Organization.id).limit(1)
    )


async def organization_ids(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(Organization.id)))


async def organizations_among(
    session: AsyncSession,
    ids: Sequence[str],
    *,
    order: Order[Organization],
    after: Sequence[Any] | None,
    limit: int,
) -> Sequence[Organization]:
    """Return organizations in an order, strictly behind a sort key."""
    statement = sorted_behind(
        select(Organization).where(Organization.id.in_(ids)),
        order.fields,
        after,
        sortable=order.sortable,
        row_id=Organization.id,
    )
    return (await session.scalars(statement.limit(limit))).all()
