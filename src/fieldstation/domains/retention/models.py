"""The tables of retention: for each organization one list of rules."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.db.base import Base
from fieldstation.db.types import UtcInstant

SENSOR_TYPE_LENGTH = 50


class RetentionPolicy(Base):
    """When an organization's list was replaced last, and from when on it is in force."""

    __tablename__ = "retention_policy"

    organization_id: Mapped[str] = mapped_column(
        ForeignKey("organization.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int]
    applies_at: Mapped[datetime] = mapped_column(UtcInstant)


class RetentionRule(Base):
    """One rule of the list, in the order in which they were sent.

    A group that a rule names cannot be deleted.
    """

    __tablename__ = "retention_rule"

    organization_id: Mapped[str] = mapped_column(
        ForeignKey("retention_policy.organization_id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sensor_type: Mapped[str | None] = mapped_column(String(SENSOR_TYPE_LENGTH))
    group_id: Mapped[str | None] = mapped_column(ForeignKey("device_group.id"), index=True)
    raw_days: Mapped[int | None]
    rollup_days: Mapped[int | None]
