"""Who is calling and what they may: roles, scopes, principals, callers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from fieldstation.domains.audit.schemas import Actor


class Role(StrEnum):
    """What a member is in one organization, weakest first."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        """Return the place among the roles; a higher one may do all that a lower one may."""
        return RANKS[self]


RANKS = {role: rank for rank, role in enumerate(Role)}

VIEWER_SCOPES = frozenset(
    {
        "devices:read",
        "telemetry:read",
        "alerts:read",
        "rover:view",
        "arduino:read",
        "knowledge:read",
        "deployments:read",
        "org:read",
        "assistant:use",
    }
)
OPERATOR_SCOPES = VIEWER_SCOPES | {
    "telemetry:write",
    "commands:send",
    "alerts:write",
    "rover:control",
    "arduino:upload",
    "knowledge:write",
    "deployments:write",
    "devices:write",
    "data:export",
}
ADMIN_SCOPES = OPERATOR_SCOPES | {
    "org:admin",
    "billing:read",
    "billing:write",
    "audit:read",
    "config:write",
    "deployments:protected",
    "targets:write",
}
OWNER_SCOPES = ADMIN_SCOPES | {"org:delete"}
SYSTEM_SCOPE = "system:admin"
USER_SCOPES = OWNER_SCOPES | {SYSTEM_SCOPE}
DEVICE_SCOPES = frozenset({"device"})
CHANGED = "changed:"

ROLE_SCOPES: Mapping[Role, frozenset[str]] = MappingProxyType(
    {
        Role.VIEWER: VIEWER_SCOPES,
        Role.OPERATOR: OPERATOR_SCOPES,
        Role.ADMIN: ADMIN_SCOPES,
        Role.OWNER: OWNER_SCOPES,
    }
)


@dataclass(frozen=True, slots=True)
class TenantScope:
    """What a statement may touch: one organization, and in it these devices (None: all of them)."""

    organization_id: str
    device_ids: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a principal is and may in one organization; a device has no role."""

    organization_id: str
    name: str
    slug: str
    role: Role | None
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever a valid token stands for, with the organizations it opens; the first is the default.

    ``subjects`` are the ids whose revocation or change makes this object stale.
    """

    kind: Literal["user", "device"]
    id: str
    superuser: bool
    standings: tuple[Standing, ...]
    subjects: frozenset[str]
    expires_at: datetime | None
    expires_at_us: int | None
    key_id: str | None = None
    token_id: str | None = None
    family_id: str | None = None
    full: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal acting in one organization.

    ``subjects`` are the ids whose revocation ends this caller; ``full`` marks a user's own session
    that carries all of their scopes (no API key, no narrowed token).
    """

    organization_id: str
    user_id: str | None
    device_id: str | None
    scopes: frozenset[str]
    superuser: bool
    subjects: frozenset[str]
    expires_at: datetime | None
    actor: Actor
    role: Role | None = None
    full: bool = False

    @property
    def scope(self) -> TenantScope:
        """Return what this caller's statements may touch: a device sees only itself."""
        own = None if self.device_id is None else frozenset({self.device_id})
        return TenantScope(self.organization_id, own)


@dataclass(frozen=True, slots=True)
class Account:
    """A signed-in user outside of any organization: for their profile, sessions and memberships."""

    user_id: str
    principal: Principal
    actor: Actor


def role_scopes(role: Role, *, superuser: bool, narrowed: frozenset[str] | None) -> frozenset[str]:
    """Return the scopes of a role and of superusers, cut to what the token is narrowed to."""
    scopes = ROLE_SCOPES[role] | {SYSTEM_SCOPE} if superuser else ROLE_SCOPES[role]
    return scopes if narrowed is None else scopes & narrowed


def membership_subject(user_id: str, organization_id: str) -> str:
    """Name one membership as something that can be revoked."""
    return f"{user_id}:{organization_id}"


def changed_subject(entity_id: str) -> str:
    """Name facts about a user, organization or device that nodes remember; this ends no caller."""
    return f"{CHANGED}{entity_id}"


def changed_entity(subject: str) -> str | None:
    """Return whose facts changed; None when the subject is one that ends."""
    return subject.removeprefix(CHANGED) if subject.startswith(CHANGED) else None
