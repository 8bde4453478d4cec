"""The tables of users, organizations and everything that proves who somebody is."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.types import UtcInstant

SUBJECT_LENGTH = 80
DIGEST_LENGTH = 64
PEM_LENGTH = 4096
SEALED_LENGTH = 8192


class User(Base):
    """A person; e-mail and username are compared through their ``*_key`` columns, without case."""

    __tablename__ = "user_account"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(254), unique=True)
    username: Mapped[str | None] = mapped_column(String(50))
    username_key: Mapped[str | None] = mapped_column(String(50), unique=True)
    full_name: Mapped[str | None] = mapped_column(String(200))
    password_hash: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(default=True)
    is_superuser: Mapped[bool] = mapped_column(default=False)
    managing_organization_id: Mapped[str | None] = mapped_column(
        ForeignKey("organization.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    updated_at: Mapped[datetime] = mapped_column(UtcInstant)
    last_login_at: Mapped[datetime | None] = mapped_column(UtcInstant)


class Organization(Base):
    """A tenant: whatever the station keeps belongs to exactly one."""

    __tablename__ = "organization"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    slug: Mapped[str] = mapped_column(String(63), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    updated_at: Mapped[datetime] = mapped_column(UtcInstant)


class Membership(Base):
    """A user's role in an organization; the oldest membership is the user's default."""

    __tablename__ = "membership"

    organization_id: Mapped[str] = mapped_column(
        ForeignKey("organization.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(UtcInstant)


class ApiKey(Base):
    """A long-lived secret of a user or a device, kept as its SHA-256."""

    __tablename__ = "api_key"
    __table_args__ = (
        Index("ix_api_key_subject_id_organization_id", "subject_id", "organization_id"),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    subject_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    organization_id: Mapped[str] = mapped_column(
        ForeignKey("organization.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(20))
    secret_hash: Mapped[str] = mapped_column(String(DIGEST_LENGTH), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    expires_at: Mapped[datetime | None] = mapped_column(UtcInstant)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcInstant)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcInstant)


class RefreshToken(Base):
    """One link in a session's chain of refresh tokens: used once, then replaced by the next."""

    __tablename__ = "refresh_token"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    family_id: Mapped[str] = mapped_column(String(ID_LENGTH), index=True)
    user_id: Mapped[str] = mapped_column(
        ForeignKey("user_account.id", ondelete="CASCADE"), index=True
    )
    token_hash: Mapped[str] = mapped_column(String(DIGEST_LENGTH), unique=True)
    scopes: Mapped[list[str] | None]
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    expires_at: Mapped[datetime] = mapped_column(UtcInstant, index=True)
    used_at: Mapped[datetime | None] = mapped_column(UtcInstant)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcInstant)


class SocketTicket(Base):
    """What a caller may do, for whoever brings the ticket first; redeeming deletes the row."""

    __tablename__ = "socket_ticket"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(DIGEST_LENGTH), unique=True)
    organization_id: Mapped[str] = mapped_column(
        ForeignKey("organization.id", ondelete="CASCADE"), index=True
    )
    user_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    device_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    role: Mapped[str | None] = mapped_column(String(20))
    superuser: Mapped[bool]
    scopes: Mapped[list[str]]
    subjects: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
    expires_at: Mapped[datetime] = mapped_column(UtcInstant, index=True)
    caller_expires_at: Mapped[datetime | None] = mapped_column(UtcInstant)


class Revocation(Base):
    """A subject whose credentials ended (or facts changed); every node reads these rows."""

    __tablename__ = "revocation"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    subject: Mapped[str] = mapped_column(String(SUBJECT_LENGTH), index=True)
    at: Mapped[datetime] = mapped_column(UtcInstant, index=True)


class LoginThrottle(Base):
    """Failed logins in a row of one account, or of one name that is no account: both lock alike."""

    __tablename__ = "login_throttle"

    key: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    failures: Mapped[int]
    locked_until: Mapped[datetime | None] = mapped_column(UtcInstant)
    updated_at: Mapped[datetime] = mapped_column(UtcInstant, index=True)


class CertificateAuthority(Base):
    """The one authority that signs client certificates, for every node; only its key is sealed."""

    __tablename__ = "certificate_authority"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Always the same: there can be no second row."""
    certificate: Mapped[str] = mapped_column(String(PEM_LENGTH))
    sealed_key: Mapped[str] = mapped_column(String(SEALED_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UtcInstant)
