"""Tables of devices, their tags and their groups."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.types import UtcInstant

NAME_KEY_LENGTH = 300
"""A character becomes three at most where case is folded."""


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


class DeviceGroup(Base):
    """Devices that are meant together: those listed as members, or those whose tags fit.

    Other domains refer to its id without a rule for deletion: then the group cannot be deleted.
    """

    __tablename__ = "device_group"
    __table_args__ = (UniqueConstraint("organization_id", "name_key"),)

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organization.id"))
    name: Mapped[str] = mapped_column(String(100))
    name_key: Mapped[str] = mapped_column(String(NAME_KEY_LENGTH))
    """How the name is compared: without case."""
    description: Mapped[str | None] = mapped_column(Text)
    tag_expression: Mapped[str | None] = mapped_column(Text)
    """Valid, as it was written; none where members are listed."""
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    updated_at: Mapped[datetime] = mapped_column(UtcInstant)


class DeviceGroupMember(Base):
    """A device that is listed in a group."""

    __tablename__ = "device_group_member"

    group_id: Mapped[str] = mapped_column(
        ForeignKey("device_group.id", ondelete="CASCADE"), primary_key=True
    )
    device_id: Mapped[str] = mapped_column(
        ForeignKey("device.id", ondelete="CASCADE"), primary_key=True, index=True
    )
