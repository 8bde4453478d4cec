"""Registering, logging in and out, and what belongs to one's own session."""

from typing import Annotated

from fastapi import Depends, Form, Response, status

from fieldstation.domains.identity import errors
from fieldstation.domains.identity.access import (
    AnyCaller,
    OwnSession,
    Peer,
    RefreshOffer,
    SignedIn,
    TheDesk,
    WantsCookie,
    session_cookies_from_here,
)
from fieldstation.domains.identity.routes.cookies import clear_cookies, set_cookies
from fieldstation.domains.identity.schemas.credentials import (
    LoginRequest,
    PasswordChange,
    TicketRead,
    TokenForm,
    TokensRead,
)
from fieldstation.domains.identity.schemas.users import (
    AccountRead,
    MeRead,
    RegisterRequest,
)
from fieldstation.domains.identity.service import accounts, sessions, tickets
from fieldstation.web.dependencies import Db, ReadDb, TheClock, TheLimits, TheSettings
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.etags import Tagged
from fieldstation.web.rate_limits import limited
from fieldstation.web.routing import API, station_router

router = station_router(f"{API}/auth", tag="Authentication")


async def unstored(response: Response) -> None:
    """Keep tokens out of caches."""
    response.headers["cache-control"] = "no-store"


@router.post(
    "/register",
    summary="Register an account",
    status_code=status.HTTP_201_CREATED,
    responses=refuses(
        errors.registration_closed(),
        errors.taken("email_key"),
        errors.taken("username_key"),
        errors.weak_password("is one of the common passwords that are tried first"),
    ),
)
@limited("3/minute", by_address=True)
async def register(
    form: RegisterRequest, desk: TheDesk, settings: TheSettings, peer: Peer
) -> AccountRead:
    """Make an account with an organization of its own, unless registration is closed here."""
    return await accounts.register(desk, form, registration=settings.registration, peer=peer)


@router.post(
    "/login",
    summary="Log in",
    dependencies=[Depends(unstored), Depends(session_cookies_from_here)],
    responses=refuses(errors.bad_login(), errors.foreign_origin(), errors.locked_out(60)),
)
@limited("5/minute", by_address=True)
async def login(
    *,
    form: LoginRequest,
    desk: TheDesk,
    settings: TheSettings,
    limits: TheLimits,
    peer: Peer,
    response: Response,
    cookie: WantsCookie = False,
) -> TokensRead:
    """Exchange e-mail or username and password for tokens.

    An unknown name and a wrong password get the same answer; ten failures lock for a while.
    """
    tokens = await sessions.log_in(
        desk, limits, login=form.login, password=form.password.get_secret_value(), peer=peer
    )
    if cookie:
        set_cookies(response, tokens, settings)
    return tokens


@router.post(
    "/token",
    summary="Log in with OAuth2's password form",
    dependencies=[Depends(unstored)],
    responses=refuses(errors.bad_login(), errors.locked_out(60)),
)
@limited("5/minute", by_address=True)
async def token(
    form: Annotated[TokenForm, Form()], desk: TheDesk, limits: TheLimits, peer: Peer
) -> TokensRead:
    """Do the same for OAuth2 clients; `scope` narrows the tokens, also after a refresh."""
    return await sessions.log_in(
        desk,
        limits,
        login=form.username,
        password=form.password.get_secret_value(),
        scope=form.scope,
        peer=peer,
    )


@router.post(
    "/refresh",
    summary="Renew the tokens",
    dependencies=[Depends(unstored)],
    responses=refuses(errors.bad_credential(), errors.foreign_origin()),
)
@limited("10/minute")
async def refresh(
    *, desk: TheDesk, settings: TheSettings, offer: RefreshOffer, peer: Peer, response: Response
) -> TokensRead:
    """Exchange the newest refresh token, from the body or the browser's cookie, for new tokens.

    An old refresh token that comes back ends the whole session.
    """
    tokens = await sessions.refresh(desk, offer.token, peer=peer)
    if offer.from_cookie:
        set_cookies(response, tokens, settings)
    return tokens


@router.post("/logout", summary="Log out", status_code=status.HTTP_204_NO_CONTENT)
@limited("20/minute")
async def logout(db: Db, account: SignedIn, clock: TheClock, response: Response) -> None:
    """End this session: its refresh token and this access token are refused from now on."""
    await sessions.log_out(db, account, now=clock.now())
    clear_cookies(response)


@router.get("/me", summary="Who am I")
@limited("60/minute")
async def me(db: ReadDb, account: SignedIn, tagged: Tagged) -> MeRead:
    """Return the signed-in user with organizations, roles and scopes."""
    return tagged(await accounts.me(db, account))


@router.post(
    "/password/change",
    summary="Change the own password",
    responses=refuses(
        errors.wrong_password(),
        errors.session_required(),
        errors.weak_password("must have at least 10 characters"),
    ),
    status_code=status.HTTP_204_NO_CONTENT,
)
@limited("3/minute")
async def change_password(form: PasswordChange, account: OwnSession, desk: TheDesk) -> None:
    """Replace the password and end the user's other sessions; this one goes on."""
    await accounts.change_password(desk, account, form)


@router.post("/ws-ticket", summary="Get a socket ticket", dependencies=[Depends(unstored)])
@limited("60/minute")
async def ws_ticket(
    db: Db, caller: AnyCaller, clock: TheClock, settings: TheSettings
) -> TicketRead:
    """Return a ticket that opens one WebSocket (`?ticket=`) as this caller, within seconds.

    Of more than 20 that were not used the oldest are void.
    """
    return await tickets.issue(db, caller, clock=clock, lifetime_s=settings.auth.ticket_expire_s)
