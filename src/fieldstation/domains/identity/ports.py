"""What identity needs from outside: a plan's limits, and a way to hash passwords."""

from typing import Protocol

from fieldstation.db.database import Session


class Quota(Protocol):
    """Says whether an organization's plan allows more of something."""

    async def check(
        self, session: Session, organization_id: str, metric: str, *, adding: int
    ) -> None:
        """Return if ``adding`` more fit.

        Raises ``QuotaExceeded`` with members metric, limit, used.
        """
        ...


class PasswordHasher(Protocol):
    """Hashes passwords and checks them; slow on purpose, so it is called in a thread."""

    def hash(self, password: str) -> str:
        """Return a salted hash."""
        ...

    # The names are the library's.
    def verify_and_update(self, password: str, hash: str) -> tuple[bool, str | None]:  # noqa: A002
        """Return whether they match and, if the hash is of an outdated kind, its replacement."""
        ...
