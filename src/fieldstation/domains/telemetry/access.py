"""Who may send and read readings."""

from typing import Annotated, Literal

from fastapi import Depends, Header, Security
from starlette.requests import Request

from fieldstation.core.errors import NotFound
from fieldstation.domains.devices.service import devices
from fieldstation.domains.identity.access import (
    ORGANIZATION_HEADER,
    Caller,
    Organization,
    TenantScope,
    bearer,
    caller_from_headers,
    peer_of,
    require,
)
from fieldstation.domains.identity.recognition import offered_token
from fieldstation.domains.telemetry.schemas import ReadingCreate, ReadingsCreate
from fieldstation.web.denials import missing_scope

READ_SCOPES = ("telemetry:read", "device")
Reader = Annotated[Caller, Depends(require(*READ_SCOPES))]
WRITE_SCOPE = "telemetry:write"
NAMED_ORGANIZATION = ORGANIZATION_HEADER.encode()


async def documented_sender(
    device_id: str,
    form: ReadingsCreate | list[ReadingCreate] | ReadingCreate,
    _documented: Annotated[object, Security(bearer, scopes=[WRITE_SCOPE, "device"])],
    organization: Organization = None,
    content_encoding: Annotated[
        Literal["identity", "gzip", "deflate", "zstd"] | None,
        Header(description="How the body is compressed.", examples=["gzip"]),
    ] = None,
) -> None:
    """Describe what the hot route reads by itself; it is never called."""
    del device_id, form, organization, content_encoding


async def sender_of(request: Request, device_id: str) -> str:
    """Return the organization of the device that a request may write to, without a database access
    for devices.

    Raises ``Unauthenticated``, ``Forbidden``, ``NotFound`` (also for another's device) or ``Busy``.
    """
    state = request.app.state
    header = request.headers.get("authorization")
    named = ORGANIZATION_HEADER in request.headers
    if header is not None and header.startswith("Bearer fsd_") and not named:
        principal = state.authenticator.cached(header[7:])
        if principal is not None and principal.id == device_id:
            return principal.standings[0].organization_id
    caller = await caller_from_headers(
        request.headers,
        authenticator=state.authenticator,
        settings=state.settings,
        method=request.method,
        peer=peer_of(request),
    )
    if caller.device_id is not None:
        if caller.device_id != device_id:
            raise NotFound(devices.NO_DEVICE)
        return caller.organization_id
    if WRITE_SCOPE not in caller.scopes:
        raise missing_scope(WRITE_SCOPE)
    async with state.database.reading() as session:
        await devices.require_device(session, caller.scope, device_id)
    return caller.organization_id


def remembered_reader(request: Request) -> TenantScope | None:
    """Return what a request whose token is remembered may read; None for every other one, also for
    one that is to be refused. No I/O."""
    headers = dict(request.scope["headers"][::-1])  # of a repeated header the first counts
    token = offered_token(headers)
    principal = None if token is None else request.app.state.authenticator.cached(token)
    if principal is None:
        return None
    named = headers.get(NAMED_ORGANIZATION)
    organization = None if named is None else named.decode("latin-1")
    for standing in principal.standings:
        if organization in {None, standing.organization_id, standing.slug}:
            if standing.scopes.isdisjoint(READ_SCOPES):
                return None
            own = frozenset({principal.id}) if principal.kind == "device" else None
            return TenantScope(standing.organization_id, own)
    return None
