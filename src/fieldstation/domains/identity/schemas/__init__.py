"""What identity speaks of: callers and what they may, and the shapes of its API."""

from fieldstation.domains.identity.schemas.callers import (
    Caller,
    Principal,
    Role,
    TenantScope,
)

__all__ = ["Caller", "Principal", "Role", "TenantScope"]
