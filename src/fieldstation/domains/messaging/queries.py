"""Every statement on retained messages and sessions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from fieldstation.db.base import Base
from fieldstation.domains.messaging.models import (
    MessageRow,
    ReceivedRow,
    RetainedMessageRow,
    SessionRow,
    SubscriptionRow,
)

KEYS_PER_STATEMENT = 200

Row = Mapping[str, Any]
Key = tuple[Any, ...]

OF_SESSIONS: tuple[type[SessionRow | SubscriptionRow | MessageRow | ReceivedRow], ...] = (
    SessionRow,
    SubscriptionRow,
    MessageRow,
    ReceivedRow,
)


async def all_retained(session: AsyncSession) -> Sequence[RetainedMessageRow]:
    return (await session.scalars(select(RetainedMessageRow))).all()


async def all_sessions(session: AsyncSession) -> Sequence[SessionRow]:
    return (await session.scalars(select(SessionRow).order_by(SessionRow.left_us))).all()


async def all_subscriptions(session: AsyncSession) -> Sequence[SubscriptionRow]:
    return (await session.scalars(select(SubscriptionRow))).all()


async def all_messages(session: AsyncSession) -> Sequence[MessageRow]:
    """Return messages in the order they are sent, what only needs its release first."""
    order = (MessageRow.released.desc(), MessageRow.position)
    return (await session.scalars(select(MessageRow).order_by(*order))).all()


async def all_received(session: AsyncSession) -> Sequence[ReceivedRow]:
    return (await session.scalars(select(ReceivedRow))).all()


async def delete_sessions(session: AsyncSession, keys: Iterable[Key]) -> None:
    """Delete sessions with everything that belongs to them; a key is organization and client."""
    wanted = list(keys)
    for model in OF_SESSIONS:
        await delete_keys(session, model, [model.organization_id, model.client_id], wanted)


async def replace_rows(
    session: AsyncSession, model: type[Base], rows: Mapping[Key, Row | None]
) -> None:
    """Delete what stood under these primary keys, then add the rows there are."""
    columns = [model.__mapper__.get_property_by_column(c) for c in model.__table__.primary_key]
    attributes = [getattr(model, column.key) for column in columns]
    await delete_keys(session, model, attributes, list(rows))
    added = [row for row in rows.values() if row is not None]
    if added:
        await session.execute(insert(model), added)


async def delete_keys(
    session: AsyncSession,
    model: type[Base],
    columns: Sequence[InstrumentedAttribute[Any] | ColumnElement[Any]],
    keys: Sequence[Key],
) -> None:
    for start in range(0, len(keys), KEYS_PER_STATEMENT):
        part = keys[start : start + KEYS_PER_STATEMENT]
        await session.execute(delete(model).where(tuple_(*columns).in_(part)))
