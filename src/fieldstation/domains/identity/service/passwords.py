"""Hashes and checks passwords, in threads and a few at a time, and refuses common ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import TypeVar

import anyio
import anyio.to_thread
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from fieldstation.core.errors import Busy
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.ports import PasswordHasher
from fieldstation.domains.identity.schemas.credentials import PASSWORD_CHARACTERS_MIN

ARGON2_PASSES = 2
PASSWORDS_HASHING_MAX = 2
PASSWORDS_WAITING_MAX = 50
BCRYPT_BYTES_MAX = 72
COMMON_PASSWORDS_FILE = "common_passwords.txt"
LOOK_ALIKES = str.maketrans("@4031!5$7", "aaoeiisst")

T = TypeVar("T")


class OldBcryptHasher(BcryptHasher):
    """Verifies hashes of earlier systems, which looked at the first 72 bytes only."""

    # The names are the library's, and typing.override came with Python 3.12.
    # pyrefly: ignore[missing-override-decorator]
    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002
        encoded = password.encode() if isinstance(password, str) else password
        return super().verify(encoded[:BCRYPT_BYTES_MAX], hash)


def station_hasher(*, memory_kib: int) -> PasswordHasher:
    """Return argon2id for new hashes, with bcrypt still read and replaced at login.

    32 MiB take about 50 ms on one core of a small server.
    """
    argon2 = Argon2Hasher(time_cost=ARGON2_PASSES, memory_cost=memory_kib, parallelism=1)
    return PasswordHash((argon2, OldBcryptHasher()))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password was right, and a new hash if the stored one is outdated."""

    matches: bool
    replacement: str | None = None


class Passwords:
    """Works on at most ``passwords_hashing_max`` passwords at a time, in threads.

    With ``passwords_waiting_max`` more in line, the next is ``Busy``.
    """

    def __init__(
        self,
        hasher: PasswordHasher,
        *,
        passwords_hashing_max: int = PASSWORDS_HASHING_MAX,
        passwords_waiting_max: int = PASSWORDS_WAITING_MAX,
    ) -> None:
        self._hasher = hasher
        self._limiter = anyio.CapacityLimiter(passwords_hashing_max)
        self._inside_max = passwords_hashing_max + passwords_waiting_max
        self._inside = 0

    async def hash(self, password: str) -> str:
        """Return the password's hash. Raises ``Busy``."""
        return await self._in_thread(lambda: self._hasher.hash(password))

    async def verify(self, password: str, stored_hash: str | None) -> Verdict:
        """Check a password; without a hash (no such user) do the same work and say no.

        Raises ``Busy``.
        """
        return await self._in_thread(lambda: self._check(password, stored_hash))

    def _check(self, password: str, stored_hash: str | None) -> Verdict:
        # Looked at whoever it is: the first check is as slow for a name that exists.
        nobodys_hash = self._nobodys_hash
        try:
            right, replacement = self._hasher.verify_and_update(
                password, stored_hash or nobodys_hash
            )
        except UnknownHashError:
            return Verdict(matches=False)
        return Verdict(right and stored_hash is not None, replacement if stored_hash else None)

    @cached_property
    def _nobodys_hash(self) -> str:
        """Made with the first check, not at every start."""
        return self._hasher.hash("nobody has this password")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._inside >= self._inside_max:
            raise Busy("Too many logins at once; try again in a moment.")
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._inside -= 1


def check_new_password(password: str, *own_names: str | None) -> None:
    """Return if the password may be used.

    Raises ``Invalid`` when it is short, common or the user's own name.
    """
    if len(password) < PASSWORD_CHARACTERS_MIN:
        raise errors.weak_password(f"must have at least {PASSWORD_CHARACTERS_MIN} characters")
    folded = password.casefold()
    if any(name is not None and folded == name.casefold() for name in own_names):
        raise errors.weak_password("must not be the e-mail address or the username")
    if any(form in common_passwords() for form in base_forms(folded)):
        raise errors.weak_password("is one of the common passwords that are tried first")


def base_forms(folded: str) -> set[str]:
    """Return what people started from: without digits at the ends, with letters for look-alikes."""
    plain = folded.translate(LOOK_ALIKES)
    forms = {
        folded,
        folded.strip(),
        plain,
        trim(folded),
        trim(plain),
        trim(trim(folded).translate(LOOK_ALIKES)),
    }
    return forms - {""}


def trim(text: str) -> str:
    """Cut off what is no letter, at both ends."""
    first = next((index for index, letter in enumerate(text) if letter.isalpha()), len(text))
    last = next(
        (index for index in range(len(text), first, -1) if text[index - 1].isalpha()), first
    )
    return text[first:last]


@cache
def common_passwords() -> frozenset[str]:
    """Return the bundled list: common passwords and the words they are made from, in lower case."""
    listed = resources.files("fieldstation.domains.identity").joinpath(COMMON_PASSWORDS_FILE)
    return frozenset(listed.read_text(encoding="utf-8").split("\n")) - {""}
