"""The tables of what the MQTT server keeps."""

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.types import KeyText, UtcInstant
from fieldstation.domains.messaging.schemas import CLIENT_ID_CHARACTERS_MAX, TOPIC_BYTES_MAX

PAYLOAD_BYTES_MAX = 1024 * 1024
NODE_ID_LENGTH = 64


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
    began_us: Mapped[int] = mapped_column(BigInteger)
    node_id: Mapped[str] = mapped_column(String(NODE_ID_LENGTH), index=True)
    epoch: Mapped[int] = mapped_column(BigInteger)
    former_node_id: Mapped[str | None] = mapped_column(String(NODE_ID_LENGTH))
    """Whose changes of the epoch before still count, until the owner has loaded the session."""


class SubscriptionRow(Base):
    """A subscription of a session; options as in MQTT 5."""

    __tablename__ = "mqtt_subscription"

    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(CLIENT_ID_CHARACTERS_MAX), primary_key=True)
    topic_filter: Mapped[str] = mapped_column(KeyText(TOPIC_BYTES_MAX), primary_key=True)
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


class HandoverRow(Base):
    """A session that a node must give up, because another one took it."""

    __tablename__ = "mqtt_handover"

    node_id: Mapped[str] = mapped_column(String(NODE_ID_LENGTH), primary_key=True)
    organization_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(CLIENT_ID_CHARACTERS_MAX), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    fresh: Mapped[bool]
    at_us: Mapped[int] = mapped_column(BigInteger)


class NodeRow(Base):
    """When a node's MQTT server last said that it is there; 0 once it stopped."""

    __tablename__ = "mqtt_node"

    node_id: Mapped[str] = mapped_column(String(NODE_ID_LENGTH), primary_key=True)
    seen_us: Mapped[int] = mapped_column(BigInteger)
