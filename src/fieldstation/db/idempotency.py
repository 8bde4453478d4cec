"""Requests that must happen once: who sent what under which key, and what came of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import LargeBinary, String, delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.core.clock import Clock
from fieldstation.db.base import Base
from fieldstation.db.database import Database
from fieldstation.db.types import UtcInstant

KEPT = timedelta(hours=24)
DIGEST_CHARACTERS = 64


class IdempotencyKey(Base):
    """One key of one caller for one route; ``status`` is None until the first request is done."""

    __tablename__ = "idempotency_key"

    digest: Mapped[str] = mapped_column(String(DIGEST_CHARACTERS), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(DIGEST_CHARACTERS))
    expires_at: Mapped[datetime] = mapped_column(UtcInstant, index=True)
    status: Mapped[int | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


@dataclass(frozen=True, slots=True)
class First:
    """What is known of the first request with a key; ``status`` is None while it runs."""

    body_digest: str
    status: int | None
    body: bytes | None


class IdempotencyKeys:
    """Claims keys before the work and keeps the results after it, each in its own transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def claim(self, digest: str, body_digest: str) -> First | None:
        """Return None if this request is the first, otherwise what is known of the first.

        Raises ``Busy``.
        """
        now = self._clock.now()
        try:
            async with self._database.transaction() as session:
                found = await session.get(IdempotencyKey, digest)
                if found is not None and found.expires_at > now:
                    return First(found.body_digest, found.status, found.body)
                if found is not None:
                    await session.delete(found)
                    await session.flush()
                expires_at = now + KEPT
                session.add(
                    IdempotencyKey(digest=digest, body_digest=body_digest, expires_at=expires_at)
                )
                await session.flush()
        except IntegrityError:  # another node was faster
            return await self.look(digest)
        return None

    async def look(self, digest: str) -> First | None:
        """Return what is known of a key; None if it was given back. Raises ``Busy``."""
        async with self._database.reading() as session:
            found = await session.get(IdempotencyKey, digest)
        return None if found is None else First(found.body_digest, found.status, found.body)

    async def keep(self, digest: str, *, status: int, body: bytes | None) -> None:
        """Keep the result of the first request. Raises ``Busy``."""
        statement = update(IdempotencyKey).where(IdempotencyKey.digest == digest)
        async with self._database.transaction() as session:
            await session.execute(statement.values(status=status, body=body))

    async def give_back(self, digest: str) -> None:
        """Forget a claim whose request did nothing: it may be tried again. Raises ``Busy``."""
        async with self._database.transaction() as session:
            await session.execute(delete(IdempotencyKey).where(IdempotencyKey.digest == digest))

    async def purge(self) -> None:
        """Delete what is over. Raises ``Busy``."""
        over = delete(IdempotencyKey).where(IdempotencyKey.expires_at <= self._clock.now())
        async with self._database.transaction() as session:
            await session.execute(over)
