"""The kinds of things that go wrong; each door translates kinds, never single errors."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class StationError(Exception):
    """Something a caller can be told; ``detail`` is one sentence that says what to do."""

    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.members = dict(members or {})


class Malformed(StationError):
    """The input cannot be read at all."""

    default_code = "malformed"


class Unauthenticated(StationError):
    """Nobody, or somebody whose credential is not valid (any more)."""

    default_code = "unauthenticated"


class QuotaExceeded(StationError):
    """The organization's plan does not allow one more."""

    default_code = "quota_exceeded"


class Forbidden(StationError):
    """A known caller who lacks a scope."""

    default_code = "insufficient_scope"

    def __init__(self, detail: str, *, scope: str | None = None, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.scope = scope


class NotFound(StationError):
    """Missing, or another organization's: the two look the same."""

    default_code = "not_found"


class Conflict(StationError):
    """The request is fine but the state of things forbids it."""

    default_code = "conflict"


class PreconditionFailed(StationError):
    """The object changed since the caller read it."""

    default_code = "precondition_failed"


class TooLarge(StationError):
    """A body or packet over its limit."""

    default_code = "too_large"


class TooDeep(TooLarge):
    """Nesting over its limit: what comes with it is not looked at either."""

    default_code = "too_deep"


class UnsupportedMedia(StationError):
    """A content type or encoding that this route does not read."""

    default_code = "unsupported_media_type"


class Invalid(StationError):
    """Readable input with values that are not allowed."""

    default_code = "validation_error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, code=code, members=members)
        self.errors = [dict(error) for error in errors]


class TooManyRequests(StationError):
    """A limit on how often; ``retry_after_s`` says when to come back."""

    default_code = "rate_limited"

    def __init__(
        self,
        detail: str,
        *,
        retry_after_s: int,
        code: str | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            detail, code=code, members={"retry_after": retry_after_s, **(members or {})}
        )
        self.retry_after_s = retry_after_s


class Busy(StationError):
    """The station cannot take this now (queue full, database away) and stored nothing of it."""

    default_code = "busy"

    def __init__(self, detail: str, *, retry_after_s: int = 1, code: str | None = None) -> None:
        super().__init__(detail, code=code, members={"retry_after": retry_after_s})
        self.retry_after_s = retry_after_s


DISK_FULL = "disk_full"


def disk_full() -> Busy:
    """Say that a database refused to write for want of space: only whoever runs the station can
    help, and it goes on by itself then."""
    return Busy(
        "The disk of the station's database is full; nothing of this was stored. Free some space.",
        retry_after_s=10,
        code=DISK_FULL,
    )
