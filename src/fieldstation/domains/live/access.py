"""Who may open a socket: the Origin, then a ticket, header, cookie, subprotocol or query token."""

from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket

from fieldstation.core.errors import Forbidden, Unauthenticated
from fieldstation.domains.identity.access import (
    ORGANIZATION_HEADER,
    SESSION_COOKIE,
    Caller,
    caller_of,
    origin_allowed,
    peer_of,
    redeem_ticket,
)
from fieldstation.web.denials import missing_scope

BEARER_SUBPROTOCOL = "bearer"


def origin_is_allowed(websocket: WebSocket) -> bool:
    """Whether the page that opens the socket is the station's own or a configured one; programs
    send no Origin."""
    if "origin" not in websocket.headers:
        return True
    return origin_allowed(websocket.headers, websocket.app.state.settings)


def foreign_page() -> Forbidden:
    """Return what the handshake answers to a page of another origin."""
    return Forbidden(
        "A page of another origin opens no socket; configure it in CORS_ORIGINS.",
        code="foreign_origin",
    )


async def authenticate_socket(websocket: WebSocket, *, scope: str) -> Caller:
    """Return who opens the socket; whoever admits them awaits nothing in between.

    Raises ``Unauthenticated``, ``Forbidden``, ``NotFound`` or ``Busy``.
    """
    state, peer = websocket.app.state, peer_of(websocket)
    ticket = websocket.query_params.get("ticket")
    if ticket is not None:
        caller = await redeem_ticket(
            state.authenticator, state.database, ticket, clock=state.clock, peer=peer
        )
    else:
        token = offered_token(websocket)
        if token is None:
            raise Unauthenticated("Open the socket with a ticket of POST /api/v1/auth/ws-ticket.")
        principal = await state.authenticator.authenticate(token)
        named = websocket.headers.get(ORGANIZATION_HEADER)
        caller = caller_of(principal, organization=named, peer=peer)
    if scope not in caller.scopes:
        raise missing_scope(scope)
    return caller


def offered_token(websocket: WebSocket) -> str | None:
    scheme, _, credential = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credential:
        return credential.strip()
    protocols = offered_subprotocols(websocket.scope)
    if len(protocols) > 1 and protocols[0] == BEARER_SUBPROTOCOL:
        return protocols[1]
    return websocket.query_params.get("token") or websocket.cookies.get(SESSION_COOKIE)


def offered_subprotocols(scope: Mapping[str, Any]) -> list[str]:
    return list(scope.get("subprotocols", ()))


def accepted_subprotocol(websocket: WebSocket) -> str | None:
    """Return the subprotocol to confirm: only ``bearer``, never the token behind it."""
    protocols = offered_subprotocols(websocket.scope)
    return BEARER_SUBPROTOCOL if protocols[:1] == [BEARER_SUBPROTOCOL] else None
