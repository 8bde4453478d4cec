"""Every statement on retained messages."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.domains.messaging.models import RetainedMessageRow
from fieldstation.domains.messaging.schemas import Retained

KEYS_PER_STATEMENT = 200


async def all_retained(session: AsyncSession) -> Sequence[RetainedMessageRow]:
    return (await session.scalars(select(RetainedMessageRow))).all()


async def replace_retained(
    session: AsyncSession, messages: Sequence[Retained], *, now: datetime
) -> None:
    """Delete what stood on these topics, then add those with a payload; topics are distinct."""
    key = tuple_(RetainedMessageRow.organization_id, RetainedMessageRow.topic)
    for start in range(0, len(messages), KEYS_PER_STATEMENT):
        part = messages[start : start + KEYS_PER_STATEMENT]
        await session.execute(
            delete(RetainedMessageRow).where(
                key.in_([(message.organization_id, message.topic) for message in part])
            )
        )
    session.add_all(
        RetainedMessageRow(
            organization_id=message.organization_id,
            topic=message.topic,
            payload=message.payload,
            qos=message.qos,
            updated_at=now,
        )
        for message in messages
        if message.payload
    )
