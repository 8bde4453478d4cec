"""A user's personal API keys."""

from typing import Annotated

from fastapi import Depends, status

from fieldstation.domains.identity import errors
from fieldstation.domains.identity.access import Caller, OwnSession, require
from fieldstation.domains.identity.schemas.credentials import (
    ApiKeyCreate,
    ApiKeyIssued,
    ApiKeyRead,
)
from fieldstation.domains.identity.service import keys
from fieldstation.web.dependencies import Db, ReadDb, TheClock
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.etags import IfMatch, Tagged
from fieldstation.web.pagination import Listed, Page
from fieldstation.web.routing import API, station_router
from fieldstation.web.sorting import sort_query

router = station_router(f"{API}/auth/api-keys", tag="Authentication")

Member = Annotated[Caller, Depends(require("org:read"))]


@router.get("", summary="List the own API keys")
async def list_keys(
    db: ReadDb,
    caller: Member,
    page: Page,
    sort: Annotated[str | None, sort_query("created_at", "name")] = None,
) -> Listed[ApiKeyRead]:
    """Return the caller's keys for this organization, without their secrets, oldest first unless
    `sort` says otherwise."""
    return await keys.page_of_keys(
        db, caller.organization_id, subject_id=caller.user_id or "", page=page, sort=sort
    )


@router.post(
    "",
    summary="Make an API key",
    status_code=status.HTTP_201_CREATED,
    responses=refuses(
        errors.session_required(),
        errors.missing_scope("devices:write"),
        errors.too_many("keys", limit=keys.KEYS_PER_SUBJECT_MAX),
    ),
)
async def issue_key(
    *,
    form: ApiKeyCreate,
    db: Db,
    _own: OwnSession,
    caller: Member,
    clock: TheClock,
    tagged: Tagged,
) -> ApiKeyIssued:
    """Return a new key for this organization; its secret is shown this once."""
    return tagged(await keys.issue_personal_key(db, caller, form, now=clock.now()))


@router.delete("/{key_id}", summary="Revoke an API key", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_key(
    *,
    key_id: str,
    db: Db,
    _own: OwnSession,
    caller: Member,
    clock: TheClock,
    match: IfMatch,
) -> None:
    """End a key: within a second it is refused everywhere and its sockets close."""
    await keys.revoke_key(
        db,
        caller.organization_id,
        subject_id=caller.user_id or "",
        key_id=key_id,
        actor=caller.actor,
        now=clock.now(),
        demand=match.demand,
    )
