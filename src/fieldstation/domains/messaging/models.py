"""The table of retained MQTT messages."""

from datetime import datetime

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.types import UtcInstant
from fieldstation.domains.messaging.schemas import TOPIC_BYTES_MAX


class RetainedMessageRow(Base):
    """The last message with the retain flag of one topic in one organization's topic space."""

    __tablename__ = "mqtt_retained"

    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    topic: Mapped[str] = mapped_column(String(TOPIC_BYTES_MAX), primary_key=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary(1024 * 1024))
    qos: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(UtcInstant)
