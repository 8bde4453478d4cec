"""Seals what has to be kept and read again with a key from the station's secret."""

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from fieldstation.core.settings import Settings
from fieldstation.domains.identity.service.tokens import SECRET_FILE


class Sealer:
    """Seals with the first secret and opens with any; what has another purpose stays closed."""

    def __init__(self, secrets: Sequence[str], *, purpose: str) -> None:
        self._keys = [sealing_key(secret, purpose) for secret in secrets]

    def seal(self, content: bytes, *, now: datetime) -> str:
        """Return a text that shows nothing of the content."""
        return self._keys[0].encrypt_at_time(content, int(now.timestamp())).decode()

    def open(self, sealed: str) -> bytes | None:
        """Return the content, None when it was sealed with a secret that is not here."""
        return next((found for key in self._keys if (found := opened(key, sealed))), None)

    def is_current(self, sealed: str) -> bool:
        """Tell whether the first secret opens it."""
        return opened(self._keys[0], sealed) is not None


def opened(key: Fernet, sealed: str) -> bytes | None:
    try:
        return key.decrypt(sealed.encode())
    except InvalidToken:
        return None


def sealing_key(secret: str, purpose: str) -> Fernet:
    derived = hmac.digest(secret.encode(), f"fieldstation sealed {purpose}".encode(), "sha256")
    return Fernet(base64.urlsafe_b64encode(derived))


def known_secrets(settings: Settings) -> list[str]:
    """Return every secret that may have sealed something, the current one first; makes none.

    The one in the data directory counts on after SECRET_KEY was set.
    """
    given = settings.auth.secret_key
    secrets = (
        None if given is None else given.get_secret_value(),
        kept_secret(settings.station.data_dir),
        *settings.auth.previous_secret_keys,
    )
    return [secret for secret in secrets if secret]


def kept_secret(data_dir: Path) -> str | None:
    try:
        return (data_dir / SECRET_FILE).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
