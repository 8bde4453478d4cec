"""Tables of devices and their tags."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.types import UtcInstant


class Device(Base):
    """Something in the field that reports to the station."""

    __tablename__ = "device"
    __table_args__ = (
        Index("ix_device_organization_id_created_at", "organization_id", "created_at", "id"),
        Index("ix_device_organization_id_last_seen_at", "organization_id", "last_seen_at"),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organization.id"))
    name: Mapped[str] = mapped_column(String(100))
    device_type: Mapped[str] = mapped_column(String(20))
    description: Mapped[str | None] = mapped_column(Text)
    location: Mapped[dict[str, Any] | None]
    properties: Mapped[dict[str, Any]]
    firmware_version: Mapped[str | None] = mapped_column(String(50))
    heartbeat_interval_s: Mapped[int]
    last_seen_at: Mapped[datetime | None] = mapped_column(UtcInstant)
    last_heartbeat: Mapped[dict[str, Any] | None]
    last_heartbeat_at: Mapped[datetime | None] = mapped_column(UtcInstant)
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    updated_at: Mapped[datetime] = mapped_column(UtcInstant)

    tag_rows: Mapped[list["DeviceTag"]] = relationship(
        lazy="raise", cascade="all, delete-orphan", order_by="DeviceTag.tag"
    )

    @property
    def tags(self) -> list[str]:
        """The device's tags, sorted; its rows must have been loaded."""
        return sorted(row.tag for row in self.tag_rows)


class DeviceTag(Base):
    """One tag of one device."""

    __tablename__ = "device_tag"
    __table_args__ = (Index("ix_device_tag_tag", "tag"),)

    device_id: Mapped[str] = mapped_column(
        ForeignKey("device.id", ondelete="CASCADE"), primary_key=True
    )
    tag: Mapped[str] = mapped_column(String(50), primary_key=True)
