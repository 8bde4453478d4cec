"""What identity refuses, in the words it always uses."""

from fieldstation.core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    TooManyRequests,
    Unauthenticated,
)
from fieldstation.web import denials

bad_credential = denials.bad_credential
missing_scope = denials.missing_scope
foreign_origin = denials.foreign_origin

# SQLite names the column, the servers the constraint, which has the column in its name.
TAKEN = {
    "email_key": ("email_taken", "This e-mail address has an account already."),
    "username_key": ("username_taken", "This username is taken; choose another."),
    "slug": ("slug_taken", "This slug is taken; choose another."),
    "membership": ("already_member", "The user is a member already; change the role instead."),
}


def taken(sign: str) -> Conflict:
    """Return the refusal for something unique, by a part of its constraint's name."""
    code, detail = TAKEN[sign]
    return Conflict(detail, code=code)


def bad_login() -> Unauthenticated:
    """Whatever is wrong with a login, the answer is this."""
    return Unauthenticated(
        "The login name or the password is not right.", code="invalid_credentials"
    )


def locked_out(retry_after_s: int) -> TooManyRequests:
    return TooManyRequests(
        "Too many failed logins for this account; wait and try again.",
        retry_after_s=retry_after_s,
        code="login_locked",
    )


def no_such_organization() -> NotFound:
    return NotFound("There is no such organization among yours.")


def no_such_user() -> NotFound:
    return NotFound("There is no such user in this organization.")


def no_such_key() -> NotFound:
    return NotFound("There is no such key.")


def session_required() -> Forbidden:
    return Forbidden(
        "This needs the user's own session; API keys and narrowed tokens cannot do it.",
        code="session_required",
    )


def registration_closed() -> Forbidden:
    return Forbidden(
        "Registration is not open here; ask an administrator for an account.",
        code="registration_closed",
    )


def wrong_password() -> Forbidden:
    return Forbidden("The current password is not right.", code="wrong_password")


def weak_password(reason: str) -> Invalid:
    return Invalid(
        f"password: {reason}.",
        code="weak_password",
        errors=[{"loc": ["body", "password"], "msg": reason, "type": "weak_password"}],
    )


def organization_in_use() -> Conflict:
    return Conflict(
        "The organization still owns devices or other things; delete them first.",
        code="organization_in_use",
    )


def role_above_own() -> Forbidden:
    return Forbidden(
        "A role above your own cannot be given, changed or removed.", code="role_above_own"
    )


def account_not_managed() -> Forbidden:
    return Forbidden(
        "This account belongs to its user or to several organizations; here only its role and "
        "membership can be changed.",
        code="account_not_managed",
    )


def last_owner() -> Conflict:
    return Conflict(
        "The organization's last active owner must stay; make somebody else an owner first.",
        code="last_owner",
    )


def quota_exceeded(metric: str, *, limit: int, used: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"The plan allows {limit} {metric}; remove one or change the plan.",
        members={"metric": metric, "limit": limit, "used": used},
    )


def too_many(what: str, *, limit: int) -> Conflict:
    return Conflict(f"There are {limit} {what} already; remove one first.", code="too_many")


def no_organization() -> Forbidden:
    return Forbidden(
        "You belong to no organization; create one or ask to be added to one.",
        code="no_organization",
    )
