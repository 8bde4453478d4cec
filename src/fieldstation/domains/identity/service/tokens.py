"""Signs and reads access tokens (JWT, HS256) and makes the opaque secrets."""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt

from fieldstation.core.ids import new_id
from fieldstation.core.settings import Settings, SettingsError
from fieldstation.domains.identity import errors

ALGORITHM = "HS256"
ISSUER = "fieldstation"
AUDIENCE = "fieldstation-api"
ACCESS = "access"
TOKEN_CHARACTERS_MAX = 4096
SECRET_BYTES = 32
CLOCK_TOLERANCE = timedelta(seconds=30)
SECRET_FILE = "secret_key"  # noqa: S105 - a file name
REQUIRED_CLAIMS = ("iss", "aud", "sub", "jti", "sid", "exp", "nbf", "iat", "type")


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid access token says."""

    user_id: str
    token_id: str
    family_id: str
    expires_at: datetime
    scopes: frozenset[str] | None


class KeyRing:
    """Signs with the current secret; tokens of a previous one stay valid until they expire."""

    def __init__(self, current: str, previous: Sequence[str] = ()) -> None:
        keys = [signing_key(secret) for secret in (current, *previous)]
        self._current_id = key_id(keys[0])
        self._keys = {key_id(key): key for key in keys}

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(
            claims,
            self._keys[self._current_id],
            algorithm=ALGORITHM,
            headers={"kid": self._current_id},
        )

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token we signed for ourselves; its times are not checked here.

        Raises ``Unauthenticated``.
        """
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise errors.bad_credential()
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise errors.bad_credential()
            return jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={
                    "require": list(REQUIRED_CLAIMS),
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidTokenError, ValueError) as error:
            raise errors.bad_credential() from error


def sign_access(
    ring: KeyRing,
    *,
    user_id: str,
    family_id: str,
    scopes: Sequence[str] | None,
    now: datetime,
    lifetime: timedelta,
) -> str:
    """Return an access token of the user's session; it names no organization."""
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "jti": new_id(),
        "sid": family_id,
        "iat": issued,
        "nbf": issued,
        "exp": issued + int(lifetime.total_seconds()),
        "type": ACCESS,
    }
    if scopes is not None:
        claims["scope"] = " ".join(scopes)
    return ring.sign(claims)


def read_access(ring: KeyRing, token: str, *, now: datetime) -> AccessClaims:
    """Check signature, kind and times by our own clock.

    Raises ``Unauthenticated``, always the same.
    """
    claims = ring.verify(token)
    expires, not_before = claims["exp"], claims["nbf"]
    names = [claims["sub"], claims["jti"], claims["sid"]]
    scope = claims.get("scope")
    sound = (
        claims["type"] == ACCESS
        and all(isinstance(name, str) for name in names)
        and type(expires) is int
        and type(not_before) is int
        and not_before <= (now + CLOCK_TOLERANCE).timestamp()
        and now.timestamp() < expires
        and (scope is None or isinstance(scope, str))
    )
    if not sound:
        raise errors.bad_credential()
    return AccessClaims(
        user_id=names[0],
        token_id=names[1],
        family_id=names[2],
        expires_at=datetime.fromtimestamp(expires, now.tzinfo),
        scopes=None if scope is None else frozenset(scope.split()),
    )


def new_secret() -> str:
    """Return 256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> str:
    """Return what is stored instead of a random secret: its SHA-256, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def signing_key(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"fieldstation access token", "sha256")


def key_id(key: bytes) -> str:
    return hmac.digest(key, b"kid", "sha256").hex()[:16]


def load_key_ring(settings: Settings) -> KeyRing:
    """Build the key ring from the settings; without a secret, from one kept in the data directory.

    Raises ``SettingsError`` when that file can be neither read nor made.
    """
    secret = settings.auth.secret_key
    current = (
        secret.get_secret_value()
        if secret is not None
        else development_secret(settings.station.data_dir)
    )
    return KeyRing(current, settings.auth.previous_secret_keys)


def development_secret(data_dir: Path) -> str:
    """Return this data directory's secret, made on first use, readable by its owner only."""
    file = data_dir / SECRET_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(new_secret())
        secret = file.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"SECRET_KEY is not set and {file} cannot be used ({error.strerror}); mend one of them"
        ) from error
    if len(secret) < SECRET_BYTES:
        raise SettingsError(f"{file} holds no usable secret; delete it to have a new one made")
    return secret
