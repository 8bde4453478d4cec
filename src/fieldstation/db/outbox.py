"""What must still happen after a commit although the process may die: messages kept in a table
until handled."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import String, Text, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.core.clock import Clock
from fieldstation.core.errors import StationError
from fieldstation.core.ids import new_id
from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.database import Database
from fieldstation.db.statements import rows_changed
from fieldstation.db.types import UtcInstant

log = structlog.get_logger(__name__)

LEASE_S = 60
ATTEMPTS_MAX = 10
MESSAGES_PER_TURN_MAX = 50
BACKOFF_S_MAX = 3600

Handler = Callable[[dict[str, Any]], Awaitable[None]]


class OutboxMessage(Base):
    """One thing to do, at least once; dead when ``attempts`` reached their limit."""

    __tablename__ = "outbox_message"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    topic: Mapped[str] = mapped_column(String(100))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    due_at: Mapped[datetime | None] = mapped_column(UtcInstant, index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)


def put(session: AsyncSession, topic: str, *, payload: dict[str, Any], now: datetime) -> None:
    """Keep a message in the caller's transaction; its handler must bear being called twice."""
    session.add(
        OutboxMessage(
            id=new_id(), topic=topic, payload=payload, created_at=now, due_at=now, attempts=0
        )
    )


class OutboxRelay:
    """Hands due messages to their topic's handler: deleted when done, retried with back-off, dead
    after the last try."""

    def __init__(self, database: Database, clock: Clock, handlers: Mapping[str, Handler]) -> None:
        self._database = database
        self._clock = clock
        self._handlers = handlers

    async def deliver_due(self) -> int:
        """Handle what is due now, at most one page; return how many messages were handled."""
        messages = await self._lease_due()
        for message in messages:
            await self._deliver(message)
        return len(messages)

    async def _lease_due(self) -> list[OutboxMessage]:
        now = self._clock.now()
        leased: list[OutboxMessage] = []
        async with self._database.transaction() as session:
            due = await session.scalars(
                select(OutboxMessage)
                .where(OutboxMessage.due_at <= now)
                .order_by(OutboxMessage.due_at, OutboxMessage.id)
                .limit(MESSAGES_PER_TURN_MAX)
            )
            for message in due:
                if message.attempts >= ATTEMPTS_MAX:  # each try ended with the process
                    message.due_at = None
                    continue
                claimed = await rows_changed(
                    session,
                    update(OutboxMessage)
                    .where(OutboxMessage.id == message.id, OutboxMessage.due_at == message.due_at)
                    .values(
                        due_at=now + timedelta(seconds=LEASE_S),
                        attempts=OutboxMessage.attempts + 1,
                    )
                    .execution_options(synchronize_session=False),
                )
                if claimed == 1:
                    leased.append(message)
        return leased

    async def _deliver(self, message: OutboxMessage) -> None:
        handler = self._handlers.get(message.topic)
        if handler is None:
            reason = f"No handler is registered for outbox topic {message.topic}."
            await self._postpone(message, StationError(reason))
            return
        try:
            await handler(message.payload)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the message is kept and tried again
            await self._postpone(message, error)
            return
        async with self._database.transaction() as session:
            await session.execute(delete(OutboxMessage).where(OutboxMessage.id == message.id))

    async def _postpone(self, message: OutboxMessage, error: Exception) -> None:
        attempts = message.attempts + 1
        dead = attempts >= ATTEMPTS_MAX
        delay_s = min(2**attempts, BACKOFF_S_MAX)
        log.warning("outbox_message_failed", topic=message.topic, attempts=attempts, dead=dead)
        async with self._database.transaction() as session:
            await session.execute(
                update(OutboxMessage)
                .where(OutboxMessage.id == message.id)
                .values(
                    due_at=None if dead else self._clock.now() + timedelta(seconds=delay_s),
                    last_error=str(error)[:1000],
                )
            )
