"""The tables of exports: what is to be written, and, beside a database server, what was."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.types import UtcInstant

NODE_ID_LENGTH = 64
PART_BYTES_MAX = 60_000
"""What a blob holds on every database without a type of its own."""


class Export(Base):
    """One export in the background; a lease says which node writes it."""

    __tablename__ = "export"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), index=True)
    user_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    selection: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(20))
    attempt: Mapped[int]
    readings: Mapped[int] = mapped_column(BigInteger)
    progress: Mapped[float] = mapped_column(Double)
    bytes: Mapped[int] = mapped_column(BigInteger)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    finished_at: Mapped[datetime | None] = mapped_column(UtcInstant)
    expires_at: Mapped[datetime] = mapped_column(UtcInstant)
    leased_by: Mapped[str | None] = mapped_column(String(NODE_ID_LENGTH))
    leased_until: Mapped[datetime | None] = mapped_column(UtcInstant)


class ExportPart(Base):
    """One piece of the file that one attempt wrote; only where nodes share a database server."""

    __tablename__ = "export_part"

    export_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
