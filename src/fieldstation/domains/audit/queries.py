"""Every statement on the audit trail."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.domains.audit.models import AuditEntry


def add_entry(session: AsyncSession, entry: AuditEntry) -> None:
    session.add(entry)


async def newest_chained(session: AsyncSession) -> AuditEntry | None:
    """Return the last link of the chain; None before the first."""
    last = select(func.max(AuditEntry.chain_number)).scalar_subquery()
    return await session.scalar(select(AuditEntry).where(AuditEntry.chain_number == last))


async def unchained(session: AsyncSession, *, limit: int) -> Sequence[AuditEntry]:
    """Return the oldest rows that have no link yet."""
    rows = await session.scalars(
        select(AuditEntry)
        .where(AuditEntry.chain_number.is_(None))
        .order_by(AuditEntry.at, AuditEntry.id)
        .limit(limit)
    )
    return rows.all()


async def chained_after(session: AsyncSession, number: int, *, limit: int) -> Sequence[AuditEntry]:
    """Return links in chain order, behind ``number``."""
    rows = await session.scalars(
        select(AuditEntry)
        .where(AuditEntry.chain_number > number)
        .order_by(AuditEntry.chain_number)
        .limit(limit)
    )
    return rows.all()
