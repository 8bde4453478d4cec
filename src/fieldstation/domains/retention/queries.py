"""Every statement on retention rules."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.domains.retention import errors
from fieldstation.domains.retention.models import RetentionPolicy, RetentionRule


async def policies(session: AsyncSession) -> Sequence[RetentionPolicy]:
    """Return the head of every organization's list."""
    return (await session.scalars(select(RetentionPolicy))).all()


async def policy(session: AsyncSession, organization_id: str) -> RetentionPolicy | None:
    return await session.scalar(
        select(RetentionPolicy).where(RetentionPolicy.organization_id == organization_id)
    )


async def rules(
    session: AsyncSession, organization_ids: Collection[str]
) -> Sequence[RetentionRule]:
    """Return the rules of some organizations, each's in their order."""
    statement = select(RetentionRule).where(RetentionRule.organization_id.in_(organization_ids))
    ordered = statement.order_by(RetentionRule.organization_id, RetentionRule.number)
    return (await session.scalars(ordered)).all()


async def replace(
    session: AsyncSession, head: RetentionPolicy, listed: Sequence[RetentionRule]
) -> None:
    """Store a list in place of the one that stands.

    Raises ``Conflict`` for a group that is not there any more.
    """
    own = RetentionRule.organization_id == head.organization_id
    await session.execute(delete(RetentionRule).where(own))
    session.add(head)
    await session.flush()
    session.add_all(listed)
    try:
        await session.flush()
    except IntegrityError as error:
        raise errors.group_gone() from error
