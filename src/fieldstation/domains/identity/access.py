"""Decides who may: turns a request's credentials into the caller that a route asks for."""

from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Header, Query, Security
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, cookie_parser

from fieldstation.core.clock import Clock
from fieldstation.core.settings import Settings
from fieldstation.db.database import Database
from fieldstation.domains.audit.schemas import Actor
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.ports import Quota
from fieldstation.domains.identity.schemas.callers import (
    Account,
    Caller,
    Principal,
    Standing,
    TenantScope,
    membership_subject,
)
from fieldstation.domains.identity.schemas.credentials import RefreshRequest
from fieldstation.domains.identity.service import tickets
from fieldstation.domains.identity.service.authenticator import Authenticator
from fieldstation.domains.identity.service.desk import Desk
from fieldstation.domains.identity.service.passwords import Passwords
from fieldstation.web import dependencies
from fieldstation.web.dependencies import TheClock, TheSettings

__all__ = [
    "Account",
    "AnyCaller",
    "Authenticator",
    "Caller",
    "Organization",
    "OwnSession",
    "Peer",
    "Principal",
    "RefreshOffer",
    "SignedIn",
    "TenantScope",
    "TheAuthenticator",
    "TheDesk",
    "TheQuota",
    "WantsCookie",
    "caller_from_headers",
    "caller_of",
    "origin_allowed",
    "peer_of",
    "principal_from_headers",
    "redeem_ticket",
    "require",
    "require_in_path",
    "token_from_headers",
]

SESSION_COOKIE = "session"
REFRESH_COOKIE = "session_refresh"
ORGANIZATION_HEADER = "x-organization"
Organization = Annotated[
    str | None,
    Header(
        alias="X-Organization",
        description="Id or slug of the organization to act in; default: the caller's first.",
        examples=["harbour-weather"],
        json_schema_extra={"pattern": "^[a-z0-9-]{1,63}$"},
    ),
]
READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

bearer = HTTPBearer(
    scheme_name="bearerAuth",
    auto_error=False,
    description="An access token (JWT), a user API key (`fsu_…`) or a device key (`fsd_…`).",
)


# Coroutines although they await nothing: FastAPI sends plain functions to a thread.
async def the_authenticator(connection: HTTPConnection) -> Authenticator:
    return connection.app.state.authenticator


async def the_passwords(connection: HTTPConnection) -> Passwords:
    return connection.app.state.passwords


async def the_quota(connection: HTTPConnection) -> Quota:
    return connection.app.state.quota


TheAuthenticator = Annotated[Authenticator, Depends(the_authenticator)]
TheQuota = Annotated[Quota, Depends(the_quota)]


async def the_desk(
    database: Annotated[Database, Depends(dependencies.database)],
    clock: TheClock,
    settings: TheSettings,
    authenticator: TheAuthenticator,
    passwords: Annotated[Passwords, Depends(the_passwords)],
) -> Desk:
    return Desk(
        database, clock, settings.auth, authenticator.key_ring, passwords, authenticator.rotating
    )


TheDesk = Annotated[Desk, Depends(the_desk)]


def require(*scopes: str) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that gives the caller if they have one of the scopes (of none: any).

    Raises ``Unauthenticated``, ``Forbidden`` or, for a foreign X-Organization, ``NotFound``.
    """

    async def caller(
        connection: HTTPConnection,
        authenticator: TheAuthenticator,
        settings: TheSettings,
        _documented: Annotated[object, Security(bearer, scopes=list(scopes))],
        organization: Organization = None,
    ) -> Caller:
        principal = await principal_from_connection(connection, authenticator, settings)
        found = caller_of(principal, organization=organization, peer=peer_of(connection))
        check_scopes(found, scopes)
        return found

    return caller


def require_in_path(*scopes: str) -> Callable[..., Awaitable[Caller]]:
    """Do the same for routes whose path names the organization; X-Organization is not looked at."""

    async def caller(
        organization_id: str,
        connection: HTTPConnection,
        authenticator: TheAuthenticator,
        settings: TheSettings,
        _documented: Annotated[object, Security(bearer, scopes=list(scopes))],
    ) -> Caller:
        principal = await principal_from_connection(connection, authenticator, settings)
        if all(standing.organization_id != organization_id for standing in principal.standings):
            raise errors.no_such_organization()
        found = caller_of(principal, organization=organization_id, peer=peer_of(connection))
        check_scopes(found, scopes)
        return found

    return caller


async def signed_in(
    connection: HTTPConnection,
    authenticator: TheAuthenticator,
    settings: TheSettings,
    _documented: Annotated[object, Security(bearer)],
) -> Account:
    """Give the signed-in user, whatever their organizations. Raises ``Forbidden`` for a device."""
    principal = await principal_from_connection(connection, authenticator, settings)
    if principal.kind != "user":
        raise errors.session_required()
    return Account(principal.id, principal, Actor("user", principal.id, peer_of(connection)))


SignedIn = Annotated[Account, Depends(signed_in)]


async def own_session(account: SignedIn) -> Account:
    """Give the signed-in user if this is their own session, not a key or a narrowed token."""
    if not account.principal.full:
        raise errors.session_required()
    return account


OwnSession = Annotated[Account, Depends(own_session)]
AnyCaller = Annotated[Caller, Depends(require())]


def check_scopes(caller: Caller, scopes: tuple[str, ...]) -> None:
    """Return if the caller has one of the scopes or none is asked for. Raises ``Forbidden``."""
    if scopes and caller.scopes.isdisjoint(scopes):
        raise errors.missing_scope(scopes[0])


def caller_of(
    principal: Principal, *, organization: str | None = None, peer: str | None = None
) -> Caller:
    """Let a principal act in one organization, given by id or slug; without one, in their first.

    Raises ``NotFound`` for one that is not theirs, ``Forbidden`` when they have none.
    """
    standing = standing_of(principal, organization)
    is_user = principal.kind == "user"
    return Caller(
        organization_id=standing.organization_id,
        user_id=principal.id if is_user else None,
        device_id=None if is_user else principal.id,
        scopes=standing.scopes,
        superuser=principal.superuser,
        subjects=ending_subjects(principal, standing),
        expires_at=principal.expires_at,
        actor=Actor(principal.kind, principal.id, peer),
        role=standing.role,
        full=principal.full,
    )


def standing_of(principal: Principal, organization: str | None) -> Standing:
    if organization is None:
        if not principal.standings:
            raise errors.no_organization()
        return principal.standings[0]
    for standing in principal.standings:
        if organization in {standing.organization_id, standing.slug}:
            return standing
    raise errors.no_such_organization()


def ending_subjects(principal: Principal, standing: Standing) -> frozenset[str]:
    own = (principal.id, principal.key_id, principal.token_id, principal.family_id)
    here = (
        standing.organization_id,
        membership_subject(principal.id, standing.organization_id),
    )
    return frozenset(subject for subject in (*own, *here) if subject is not None)


async def caller_from_headers(
    headers: Headers,
    *,
    authenticator: Authenticator,
    settings: Settings,
    method: str = "GET",
    peer: str | None = None,
) -> Caller:
    """Return the caller of a request that FastAPI does not resolve: hot routes, sockets.

    Raises ``Unauthenticated``, ``Forbidden``, ``NotFound`` or ``Busy``.
    """
    principal = await principal_from_headers(
        headers, authenticator=authenticator, settings=settings, method=method
    )
    return caller_of(principal, organization=headers.get(ORGANIZATION_HEADER), peer=peer)


async def principal_from_headers(
    headers: Headers, *, authenticator: Authenticator, settings: Settings, method: str
) -> Principal:
    """Authenticate by the Authorization header, otherwise by the session cookie."""
    token = token_from_headers(headers)
    if token is None:
        token = cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE)
        if token is None:
            raise errors.bad_credential()
        if method not in READING_METHODS and not origin_allowed(headers, settings):
            raise errors.foreign_origin()
    return await authenticator.authenticate(token)


async def principal_from_connection(
    connection: HTTPConnection, authenticator: Authenticator, settings: Settings
) -> Principal:
    return await principal_from_headers(
        connection.headers,
        authenticator=authenticator,
        settings=settings,
        method=connection.scope.get("method", "GET"),
    )


def token_from_headers(headers: Headers) -> str | None:
    """Return the bearer token; None without an Authorization header.

    Raises ``Unauthenticated`` for another scheme.
    """
    value = headers.get("authorization")
    if value is None:
        return None
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.bad_credential()
    return token.strip()


def origin_allowed(headers: Headers, settings: Settings) -> bool:
    """Tell whether there is an Origin header that names this station or a configured origin."""
    origin = headers.get("origin")
    if origin is None:
        return False
    if origin in settings.http.allowed_origins:
        return True
    asked, public = urlsplit(origin), urlsplit(settings.station.public_url or "")
    if asked.netloc == public.netloc:
        return asked.netloc != "" and asked.scheme == public.scheme
    if asked.netloc != headers.get("host"):
        return False
    return asked.scheme == "https" or not (
        settings.http.https_redirect or settings.http.tls_cert_file
    )


WantsCookie = Annotated[
    bool, Query(description="Also set the session cookies, for a browser.", examples=[True])
]


async def session_cookies_from_here(
    connection: HTTPConnection, settings: TheSettings, cookie: WantsCookie = False
) -> None:
    """Refuse to give another site's page a session cookie. Raises ``Forbidden``."""
    headers = connection.headers
    if cookie and "origin" in headers and not origin_allowed(headers, settings):
        raise errors.foreign_origin()


class OfferedRefresh(NamedTuple):
    """A refresh token, and whether it came in the browser's cookie."""

    token: str
    from_cookie: bool


async def offered_refresh(
    connection: HTTPConnection, settings: TheSettings, form: RefreshRequest | None = None
) -> OfferedRefresh:
    """Return the refresh token of the body, otherwise of the browser's session.

    Raises ``Unauthenticated``, or ``Forbidden`` for a cookie without an origin of ours.
    """
    if form is not None and form.refresh_token:
        return OfferedRefresh(form.refresh_token, from_cookie=False)
    token = connection.cookies.get(REFRESH_COOKIE)
    if token is None:
        raise errors.bad_credential()
    if not origin_allowed(connection.headers, settings):
        raise errors.foreign_origin()
    return OfferedRefresh(token, from_cookie=True)


def peer_of(connection: HTTPConnection) -> str | None:
    """Return the client's address."""
    return None if connection.client is None else connection.client.host


async def the_peer(connection: HTTPConnection) -> str | None:
    return peer_of(connection)


Peer = Annotated[str | None, Depends(the_peer)]
RefreshOffer = Annotated[OfferedRefresh, Depends(offered_refresh)]


async def redeem_ticket(
    authenticator: Authenticator,
    database: Database,
    ticket: str,
    *,
    clock: Clock,
    peer: str | None = None,
) -> Caller:
    """Exchange a ticket, once, for the caller who asked for it.

    Raises ``Unauthenticated``, also for one whose rights end meanwhile, or ``Busy``.
    """
    with authenticator.hearing() as heard:
        caller = await tickets.redeem(database, ticket, clock=clock, peer=peer)
    if not heard.isdisjoint(caller.subjects):
        raise errors.bad_credential()
    return caller
