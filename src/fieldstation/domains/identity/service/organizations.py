"""Makes, changes and removes organizations."""

import re
import secrets
import unicodedata
from collections.abc import Sequence
from datetime import datetime

from fieldstation.core.errors import NotFound
from fieldstation.core.ids import new_id
from fieldstation.db.database import Session
from fieldstation.domains.audit.schemas import STATION, Actor, Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.models import Membership, Organization
from fieldstation.domains.identity.queries import people
from fieldstation.domains.identity.schemas.callers import Account, Caller, Role
from fieldstation.domains.identity.schemas.organizations import (
    OrganizationCreate,
    OrganizationRead,
    OrganizationReplace,
)
from fieldstation.domains.identity.service.authenticator import (
    ORGANIZATIONS_PER_USER_MAX,
)
from fieldstation.domains.identity.service.revocations import note_change, revoke
from fieldstation.web.etags import ANY, Expected
from fieldstation.web.pagination import Listed, PageRequest, cut_page
from fieldstation.web.sorting import parse_sort

SLUG_CHARACTERS_MAX = 63
SLUG_SUFFIX_BYTES = 3


async def list_organizations(
    session: Session, account: Account, page: PageRequest, *, sort: str | None = None
) -> Listed[OrganizationRead]:
    """Return the organizations that this token may read, oldest first unless ``sort`` says
    otherwise.

    Raises ``Invalid`` for a foreign cursor or order.
    """
    order = parse_sort(sort, sortable=people.ORGANIZATION_SORTABLE, default="created_at")
    ids = [
        item.organization_id for item in account.principal.standings if "org:read" in item.scopes
    ]
    rows = await people.organizations_among(
        session, ids, order=order, after=order.after(page), limit=page.limit + 1
    )
    kept, cursor = cut_page(rows, page, lambda row: order.key(row, row.id))
    return Listed(
        items=[OrganizationRead.model_validate(row) for row in kept],
        next_cursor=cursor,
        total=len(ids) if page.include_total else None,
    )


async def create_organization(
    session: Session, account: Account, form: OrganizationCreate, *, now: datetime
) -> OrganizationRead:
    """Make an organization that the user owns.

    Raises ``Conflict``: slug taken, or 50 organizations.
    """
    await leave_room(session, account.user_id)
    row = await add_organization(
        session,
        name=form.name,
        slug=form.slug,
        owner_id=account.user_id,
        actor=account.actor,
        now=now,
    )
    note_change(session, account.user_id, now=now)
    return OrganizationRead.model_validate(row)


async def ensure_first_organization(
    session: Session, *, name: str, now: datetime
) -> OrganizationRead:
    """Return the station's oldest organization; make one if there is none."""
    row = await people.first_organization(session)
    if row is None:
        row = await add_organization(session, name=name, owner_id=None, actor=STATION, now=now)
    return OrganizationRead.model_validate(row)


async def find_organization(session: Session, named: str) -> OrganizationRead:
    """Return the organization with an id or slug, for the operator. Raises ``NotFound``."""
    row = await people.organization_by_slug(session, named)
    row = row or await people.organization(session, named)
    if row is None:
        raise NotFound(f"No organization has the id or slug {named[:63]}.")
    return OrganizationRead.model_validate(row)


async def station_organization(session: Session, named: str | None) -> OrganizationRead | None:
    """Return the organization that the host's own resources belong to: the one with this id or
    slug, or without a name the oldest."""
    if named is None:
        row = await people.first_organization(session)
        return None if row is None else OrganizationRead.model_validate(row)
    try:
        return await find_organization(session, named)
    except NotFound:
        return None


async def organization_ids(session: Session) -> list[str]:
    """Return every organization of the station, for its own work."""
    return await people.organization_ids(session)


async def lock(session: Session, organization_id: str) -> None:
    """Let others who change what an organization has one of wait until this transaction ends."""
    await people.lock_organization(session, organization_id)


async def read_organization(session: Session, caller: Caller) -> OrganizationRead:
    """Return the caller's organization. Raises ``NotFound`` if it is gone."""
    return OrganizationRead.model_validate(await own_organization(session, caller))


async def replace_organization(
    session: Session,
    caller: Caller,
    form: OrganizationReplace,
    *,
    now: datetime,
    match: Expected = ANY,
) -> OrganizationRead:
    """Rename the organization. Raises ``Conflict`` when the slug is taken."""
    await people.lock_organization(session, caller.organization_id)
    row = await own_organization(session, caller)
    match.demand(OrganizationRead.model_validate(row))
    before = {"name": row.name, "slug": row.slug}
    after = {"name": form.name, "slug": form.slug or row.slug}
    if before != after:
        row.name, row.slug, row.updated_at = after["name"], after["slug"], now
        await people.flush(session)
        note_change(session, row.id, now=now)
        record(
            session,
            Change("organization.updated", "organization", row.id, before=before, after=after),
            actor=caller.actor,
            organization_id=row.id,
            now=now,
        )
    return OrganizationRead.model_validate(row)


async def delete_organization(
    session: Session, caller: Caller, *, now: datetime, match: Expected = ANY
) -> None:
    """Remove the organization with its memberships and keys; its users stay.

    Raises ``Conflict`` while something of another domain still belongs to it.
    """
    await people.lock_organization(session, caller.organization_id)
    row = await own_organization(session, caller)
    match.demand(OrganizationRead.model_validate(row))
    if not await people.delete_row(session, row):
        raise errors.organization_in_use()
    revoke(session, row.id, now=now)
    record(
        session,
        Change("organization.deleted", "organization", row.id, before={"name": row.name}),
        actor=caller.actor,
        organization_id=row.id,
        now=now,
    )


async def add_organization(
    session: Session,
    *,
    name: str,
    owner_id: str | None,
    actor: Actor,
    now: datetime,
    slug: str | None = None,
) -> Organization:
    """Insert an organization with its first owner.

    Raises ``Conflict`` when a given slug is taken.
    """
    row = Organization(
        id=new_id(),
        name=name,
        slug=slug or await free_slug(session, name),
        created_at=now,
        updated_at=now,
    )
    await people.insert(session, row)
    if owner_id is not None:
        owner = Membership(
            organization_id=row.id, user_id=owner_id, role=Role.OWNER.value, created_at=now
        )
        await people.insert(session, owner)
    record(
        session,
        Change(
            "organization.created",
            "organization",
            row.id,
            after={"name": name, "slug": row.slug, "owner_id": owner_id},
        ),
        actor=actor,
        organization_id=row.id,
        now=now,
    )
    return row


async def leave_room(session: Session, user_id: str) -> None:
    """Return if the user may join one more organization. Raises ``Conflict`` at 50."""
    if await people.count_memberships(session, user_id) >= ORGANIZATIONS_PER_USER_MAX:
        raise errors.too_many("organizations", limit=ORGANIZATIONS_PER_USER_MAX)


async def refuse_without_owner(
    session: Session, organization_ids: Sequence[str], *, leaving_user_id: str
) -> None:
    """Return if each organization keeps an active owner without this user. Raises ``Conflict``."""
    for organization_id in organization_ids:
        await people.lock_organization(session, organization_id)
        if not await people.count_other_owners(session, organization_id, user_id=leaving_user_id):
            raise errors.last_owner()


async def own_organization(session: Session, caller: Caller) -> Organization:
    row = await people.organization(session, caller.organization_id)
    if row is None:
        raise errors.no_such_organization()
    return row


async def free_slug(session: Session, name: str) -> str:
    """Derive a slug from a name, with random digits behind it if it is taken."""
    slug = slug_of(name)
    if await people.organization_by_slug(session, slug) is None:
        return slug
    suffix = secrets.token_hex(SLUG_SUFFIX_BYTES)
    return f"{slug[: SLUG_CHARACTERS_MAX - len(suffix) - 1].rstrip('-')}-{suffix}"


def slug_of(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:SLUG_CHARACTERS_MAX].strip("-")
    return slug or "organization"
