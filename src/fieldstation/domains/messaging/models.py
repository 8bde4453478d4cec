"""The tables of what the MQTT server keeps."""

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.types import UtcInstant
from fieldstation.domains.messaging.schemas import CLIENT_ID_CHARACTERS_MAX, TOPIC_BYTES_MAX

PAYLOAD_BYTES_MAX = 1024 * 1024


class RetainedMessageRow(Base):
    """The last message with the retain flag of one topic in one organization's topic space."""

    __tablename__ = "mqtt_retained"

    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    topic: Mapped[str] = mapped_column(String(TOPIC_BYTES_MAX), primary_key=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary(PAYLOAD_BYTES_MAX))
    qos: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(UtcInstant)
    properties: Mapped[bytes | None] = mapped_column(LargeBinary(PAYLOAD_BYTES_MAX))
    expires_us: Mapped[int | None] = mapped_column(BigInteger)


class SessionRow(Base):
    """A session that outlives its client's connections."""

    __tablename__ = "mqtt_session"

    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(CLIENT_ID_CHARACTERS_MAX), primary_key=True)
    owner: Mapped[str] = mapped_column(String(ID_LENGTH))
    expiry_s: Mapped[int] = mapped_column(BigInteger)
    left_us: Mapped[int] = mapped_column(BigInteger)


class SubscriptionRow(Base):
    """A subscription of a session; options as in MQTT 5."""

    __tablename__ = "mqtt_subscription"

    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(CLIENT_ID_CHARACTERS_MAX), primary_key=True)
    topic_filter: Mapped[str] = mapped_column(String(TOPIC_BYTES_MAX), primary_key=True)
    options: Mapped[int]
    identifier: Mapped[int]


class MessageRow(Base):
    """A message on its way to a session's client."""

    __tablename__ = "mqtt_message"

    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(CLIENT_ID_CHARACTERS_MAX), primary_key=True)
    packet_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    topic: Mapped[str] = mapped_column(String(TOPIC_BYTES_MAX))
    payload: Mapped[bytes] = mapped_column(LargeBinary(PAYLOAD_BYTES_MAX))
    qos: Mapped[int]
    retain: Mapped[bool]
    properties: Mapped[bytes] = mapped_column(LargeBinary(PAYLOAD_BYTES_MAX))
    expires_us: Mapped[int] = mapped_column(BigInteger)
    sent: Mapped[bool]
    released: Mapped[bool]


class ReceivedRow(Base):
    """The packet id of a QoS 2 message that a session's client sent, until its PUBREL."""

    __tablename__ = "mqtt_received"

    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(CLIENT_ID_CHARACTERS_MAX), primary_key=True)
    packet_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
