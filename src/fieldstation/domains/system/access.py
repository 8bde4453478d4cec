"""Who may read the station's numbers: a superuser, the metrics token, or this computer itself."""

import hmac
from ipaddress import ip_address
from typing import Annotated

from fastapi import Security
from starlette.requests import Request

from fieldstation.domains.identity.access import bearer, caller_from_headers
from fieldstation.web.denials import missing_scope

SYSTEM_SCOPE = "system:admin"
FORWARDING_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


async def documented_reader(
    _documented: Annotated[object, Security(bearer, scopes=[SYSTEM_SCOPE])],
) -> None:
    """Say in OpenAPI what a reader from elsewhere needs."""


async def may_read_metrics(request: Request) -> None:
    """Return if the caller may. Raises ``Unauthenticated`` or ``Forbidden``."""
    if is_local(request) or has_metrics_token(request):
        return
    state = request.app.state
    caller = await caller_from_headers(
        request.headers, authenticator=state.authenticator, settings=state.settings
    )
    if SYSTEM_SCOPE not in caller.scopes:
        raise missing_scope(SYSTEM_SCOPE)


def is_local(request: Request) -> bool:
    """Whether a program on this computer asks, not a proxy on behalf of somebody else."""
    if request.client is None or any(name in request.headers for name in FORWARDING_HEADERS):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def has_metrics_token(request: Request) -> bool:
    token = request.app.state.settings.http.metrics_token
    if token is None:
        return False
    offered = request.headers.get("authorization", "")
    expected = f"Bearer {token.get_secret_value()}"
    return hmac.compare_digest(offered.encode(), expected.encode())
