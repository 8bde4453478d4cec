"""Issues and revokes the API keys of users and devices."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

from fieldstation.core.errors import Invalid
from fieldstation.core.ids import new_id
from fieldstation.db.database import Session
from fieldstation.domains.audit.schemas import Actor, Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.models import ApiKey
from fieldstation.domains.identity.queries import credentials as queries
from fieldstation.domains.identity.schemas.callers import (
    DEVICE_SCOPES,
    USER_SCOPES,
    Caller,
)
from fieldstation.domains.identity.schemas.credentials import (
    ApiKeyCreate,
    ApiKeyIssued,
    ApiKeyRead,
)
from fieldstation.domains.identity.service.revocations import revoke
from fieldstation.domains.identity.service.tokens import digest_of, new_secret
from fieldstation.web.pagination import Listed, PageRequest, cut_page
from fieldstation.web.sorting import parse_sort

KEYS_PER_SUBJECT_MAX = 25
SHOWN_CHARACTERS = 10
PREFIXES = {"user": "fsu_", "device": "fsd_"}


async def issue_key(
    session: Session,
    organization_id: str,
    *,
    kind: Literal["user", "device"],
    subject_id: str,
    name: str,
    actor: Actor,
    now: datetime,
    scopes: Sequence[str] = tuple(DEVICE_SCOPES),
    expires_at: datetime | None = None,
    secret: str | None = None,
) -> tuple[ApiKeyRead, str]:
    """Return the new key and its secret, which nobody can read again.

    ``subject_id`` is the user's or device's id; a ``secret`` is generated unless given.
    Raises ``Conflict`` at 25 live keys, ``Invalid`` for a past expiry.
    """
    if expires_at is not None and expires_at <= now:
        raise Invalid("expires_at: must be in the future.", code="expired")
    existing = await queries.live_keys(session, organization_id, subject_id=subject_id)
    if len(existing) >= KEYS_PER_SUBJECT_MAX:
        raise errors.too_many("keys", limit=KEYS_PER_SUBJECT_MAX)
    secret = secret or PREFIXES[kind] + new_secret()
    key = ApiKey(
        id=new_id(),
        kind=kind,
        subject_id=subject_id,
        organization_id=organization_id,
        name=name,
        prefix=secret[:SHOWN_CHARACTERS],
        secret_hash=digest_of(secret),
        scopes=sorted(scopes),
        created_at=now,
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    queries.add(session, key)
    record(
        session,
        Change(
            "api_key.issued",
            "api_key",
            key.id,
            after={"kind": kind, "subject_id": subject_id, "name": name, "scopes": key.scopes},
        ),
        actor=actor,
        organization_id=organization_id,
        now=now,
    )
    return ApiKeyRead.model_validate(key), secret


async def revoke_key(
    session: Session,
    organization_id: str,
    *,
    subject_id: str,
    key_id: str,
    actor: Actor,
    now: datetime,
    demand: Callable[[ApiKeyRead], None] | None = None,
) -> None:
    """End one key, everywhere within a second; ``demand`` may refuse it as it is.

    Raises ``NotFound`` and what ``demand`` raises.
    """
    key = await queries.live_key(session, organization_id, subject_id=subject_id, key_id=key_id)
    if key is None:
        raise errors.no_such_key()
    if demand is not None:
        demand(ApiKeyRead.model_validate(key))
    key.revoked_at = now
    revoke(session, key.id, now=now)
    record(
        session,
        Change("api_key.revoked", "api_key", key.id, before={"name": key.name}),
        actor=actor,
        organization_id=organization_id,
        now=now,
    )


async def revoke_subject(
    session: Session, organization_id: str, *, subject_id: str, now: datetime
) -> None:
    """End every key of a user here, or of a device, and every caller that has this id as a subject.

    The one who deletes the subject writes the audit row.
    """
    await queries.revoke_keys(session, organization_id, subject_id=subject_id, now=now)
    revoke(session, subject_id, now=now)


async def list_keys(session: Session, organization_id: str, *, subject_id: str) -> list[ApiKeyRead]:
    """Return the subject's live keys, oldest first; there are at most 25."""
    keys = await queries.live_keys(session, organization_id, subject_id=subject_id)
    return [ApiKeyRead.model_validate(key) for key in keys]


async def page_of_keys(
    session: Session,
    organization_id: str,
    *,
    subject_id: str,
    page: PageRequest,
    sort: str | None,
) -> Listed[ApiKeyRead]:
    """Return a page of the subject's live keys, oldest first unless ``sort`` says otherwise.

    Raises ``Invalid`` for a foreign cursor or order.
    """
    order = parse_sort(sort, sortable=queries.KEY_SORTABLE, default="created_at")
    rows = await queries.page_of_keys(
        session,
        organization_id,
        subject_id=subject_id,
        order=order,
        after=order.after(page),
        limit=page.limit + 1,
    )
    kept, cursor = cut_page(rows, page, lambda key: order.key(key, key.id))
    total = None
    if page.include_total:
        total = len(await queries.live_keys(session, organization_id, subject_id=subject_id))
    return Listed(
        items=[ApiKeyRead.model_validate(key) for key in kept], next_cursor=cursor, total=total
    )


async def issue_personal_key(
    session: Session, caller: Caller, form: ApiKeyCreate, *, now: datetime
) -> ApiKeyIssued:
    """Give the calling user a key for this organization, with scopes that they have themselves.

    Raises ``Invalid`` for a scope that does not exist, ``Forbidden`` for one that the caller lacks.
    """
    wanted = frozenset(form.scopes)
    unknown = sorted(wanted - USER_SCOPES)
    if unknown:
        raise Invalid(f"scopes: {unknown[0]!r} is not a scope.", code="unknown_scope")
    lacking = sorted(wanted - caller.scopes)
    if lacking:
        raise errors.missing_scope(lacking[0])
    key, secret = await issue_key(
        session,
        caller.organization_id,
        kind="user",
        subject_id=caller.user_id or "",
        name=form.name,
        scopes=sorted(wanted),
        expires_at=form.expires_at,
        actor=caller.actor,
        now=now,
    )
    return ApiKeyIssued(**key.model_dump(), api_key=secret)
