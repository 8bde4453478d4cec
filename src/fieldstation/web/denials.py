"""What callers are told who may not, in the one place that answers and documentation share."""

from fieldstation.core.errors import Forbidden, Unauthenticated


def bad_credential() -> Unauthenticated:
    """Whatever is wrong with a token, the answer is this."""
    return Unauthenticated(
        "The token is missing or not valid (any more); log in or use another key."
    )


def missing_scope(scope: str) -> Forbidden:
    return Forbidden(f"This needs the scope {scope}, which the caller does not have.", scope=scope)


def foreign_origin() -> Forbidden:
    return Forbidden(
        "A write with the session cookie needs an Origin that is this station's or configured.",
        code="csrf_failed",
    )
