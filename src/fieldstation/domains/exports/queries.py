"""Every statement on exports and the pieces of their files."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.db.statements import rows_changed
from fieldstation.domains.exports.models import Export, ExportPart
from fieldstation.domains.exports.ports import Attempt
from fieldstation.domains.exports.schemas import ExportStatus
from fieldstation.domains.identity.schemas import TenantScope

UNDER_WAY = (ExportStatus.PENDING, ExportStatus.RUNNING)


def add_export(session: AsyncSession, export: Export) -> None:
    session.add(export)


async def find_export(session: AsyncSession, scope: TenantScope, export_id: str) -> Export | None:
    return await session.scalar(
        select(Export).where(
            Export.organization_id == scope.organization_id, Export.id == export_id
        )
    )


async def list_exports(
    session: AsyncSession, scope: TenantScope, *, before: tuple[datetime, str] | None, limit: int
) -> Sequence[Export]:
    """Return exports, newest first, strictly behind a key."""
    statement = select(Export).where(Export.organization_id == scope.organization_id)
    if before is not None:
        statement = statement.where(tuple_(Export.created_at, Export.id) < before)
    newest = statement.order_by(Export.created_at.desc(), Export.id.desc())
    return (await session.scalars(newest.limit(limit))).all()


async def count_exports(session: AsyncSession, scope: TenantScope) -> int:
    counted = select(func.count()).select_from(Export)
    own = Export.organization_id == scope.organization_id
    return await session.scalar(counted.where(own)) or 0


async def bytes_of_others(session: AsyncSession, export: Export) -> int:
    """Return how much the organization's other exports hold."""
    others = select(func.sum(Export.bytes)).where(
        Export.organization_id == export.organization_id, Export.id != export.id
    )
    return int(await session.scalar(others) or 0)


async def delete_export(session: AsyncSession, export: Export) -> None:
    await session.delete(export)


def is_free(now: datetime) -> ColumnElement[bool]:
    """Select what waits, and what a node that is gone has begun."""
    unleased = or_(Export.leased_until.is_(None), Export.leased_until <= now)
    return and_(Export.status.in_(UNDER_WAY), unleased)


async def oldest_free(session: AsyncSession, now: datetime) -> Export | None:
    free = select(Export).where(is_free(now))
    return await session.scalar(free.order_by(Export.created_at, Export.id).limit(1))


async def release(session: AsyncSession, *, node_id: str, now: datetime) -> None:
    """End the leases of a node."""
    mine = update(Export).where(Export.leased_by == node_id, Export.leased_until > now)
    await session.execute(unsynchronized(mine.values(leased_until=now)))


async def take(
    session: AsyncSession, export: Export, *, node_id: str, now: datetime, until: datetime
) -> bool:
    """Lease an export that is free for one more attempt; false if another node was faster."""
    statement = (
        update(Export)
        .where(Export.id == export.id, Export.attempt == export.attempt, is_free(now))
        .values(
            status=ExportStatus.RUNNING,
            attempt=export.attempt + 1,
            readings=0,
            progress=0.0,
            bytes=0,
            leased_by=node_id,
            leased_until=until,
        )
    )
    return await rows_changed(session, unsynchronized(statement)) == 1


async def change(
    session: AsyncSession, attempt: Attempt, *, node_id: str, values: dict[str, Any]
) -> bool:
    """Note something of an attempt; false if it is no longer this node's, or deleted."""
    statement = (
        update(Export)
        .where(
            Export.id == attempt.export_id,
            Export.attempt == attempt.number,
            Export.status == ExportStatus.RUNNING,
            Export.leased_by == node_id,
        )
        .values(values)
    )
    return await rows_changed(session, unsynchronized(statement)) == 1


def unsynchronized(statement: Any) -> Any:
    return statement.execution_options(synchronize_session=False)


async def delete_expired(session: AsyncSession, now: datetime) -> None:
    await session.execute(unsynchronized(delete(Export).where(Export.expires_at <= now)))


async def living(session: AsyncSession, export_ids: Collection[str]) -> set[Attempt]:
    """Return the last attempts of those exports that still exist."""
    found = await session.execute(
        select(Export.id, Export.attempt).where(Export.id.in_(export_ids))
    )
    return {Attempt(*row) for row in found}


async def add_parts(session: AsyncSession, attempt: Attempt, parts: Sequence[bytes]) -> None:
    """Add pieces behind those that are there."""
    last = select(func.max(ExportPart.number)).where(of_attempt(attempt))
    first = (await session.scalar(last) or 0) + 1
    session.add_all(
        ExportPart(
            export_id=attempt.export_id, attempt=attempt.number, number=first + at, data=part
        )
        for at, part in enumerate(parts)
    )


async def parts_from(
    session: AsyncSession, attempt: Attempt, number: int, *, limit: int
) -> Sequence[bytes]:
    """Return pieces in their order, the first of which has a number."""
    statement = select(ExportPart.data).where(of_attempt(attempt), ExportPart.number >= number)
    return (await session.scalars(statement.order_by(ExportPart.number).limit(limit))).all()


def of_attempt(attempt: Attempt) -> ColumnElement[bool]:
    return and_(ExportPart.export_id == attempt.export_id, ExportPart.attempt == attempt.number)


async def delete_orphaned_parts(session: AsyncSession) -> None:
    """Delete the pieces that are not of an export's last attempt."""
    wanted = exists().where(Export.id == ExportPart.export_id, Export.attempt == ExportPart.attempt)
    await session.execute(unsynchronized(delete(ExportPart).where(~wanted)))
