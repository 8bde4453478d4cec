"""Tells the rate limits who a request's token stands for, before any route is asked."""

from collections.abc import Mapping

from starlette.requests import cookie_parser

from fieldstation.core.errors import Unauthenticated
from fieldstation.domains.identity.access import SESSION_COOKIE
from fieldstation.domains.identity.schemas.callers import Principal
from fieldstation.domains.identity.service.authenticator import Authenticator
from fieldstation.web.rate_limits import Known, Recognise

BEARER = b"bearer "


def recogniser(authenticator: Authenticator) -> Recognise:
    """Return what asks the authenticator's memory first, then the database."""

    def remembered(token: str) -> Known | None:
        principal = authenticator.cached(token)
        return None if principal is None else known(principal)

    async def look_up(token: str) -> Known | None:
        try:
            return known(await authenticator.authenticate(token))
        except Unauthenticated:  # the route says so itself, if it asks at all
            return None

    return Recognise(offered_token, remembered, look_up)


def known(principal: Principal) -> Known:
    return Known(principal.kind, principal.id)


def offered_token(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the bearer token, otherwise the session cookie's."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        if authorization[:7].lower() != BEARER:
            return None
        return authorization[7:].strip().decode("latin-1") or None
    cookies = headers.get(b"cookie")
    if cookies is None:
        return None
    return cookie_parser(cookies.decode("latin-1")).get(SESSION_COOKIE)
