"""What it takes to let people in: the tools that services of accounts and sessions work with."""

from dataclasses import dataclass

from fieldstation.core.clock import Clock
from fieldstation.core.settings import AuthSettings
from fieldstation.db.database import Database
from fieldstation.domains.identity.service.passwords import Passwords
from fieldstation.domains.identity.service.tokens import KeyRing


@dataclass(frozen=True, slots=True)
class Desk:
    """The database comes along because passwords are hashed before a session opens."""

    database: Database
    clock: Clock
    settings: AuthSettings
    key_ring: KeyRing
    passwords: Passwords
    rotating: set[str]
    """Digests of the refresh tokens that this node is exchanging right now."""
