"""Organizations and their members."""

from typing import Annotated

from fastapi import Depends, status

from fieldstation.domains.identity import errors
from fieldstation.domains.identity.access import (
    Caller,
    OwnSession,
    SignedIn,
    TheQuota,
    require_in_path,
)
from fieldstation.domains.identity.schemas.organizations import (
    MemberAdd,
    MemberRead,
    MemberReplace,
    OrganizationCreate,
    OrganizationRead,
    OrganizationReplace,
)
from fieldstation.domains.identity.service import members, organizations
from fieldstation.domains.identity.service.authenticator import ORGANIZATIONS_PER_USER_MAX
from fieldstation.web.dependencies import Db, ReadDb, TheClock
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.etags import IfMatch, Tagged
from fieldstation.web.pagination import Listed, Page
from fieldstation.web.rate_limits import limited
from fieldstation.web.routing import API, station_router
from fieldstation.web.sorting import sort_query

router = station_router(f"{API}/organizations", tag="Organizations")

Reader = Annotated[Caller, Depends(require_in_path("org:read"))]
Admin = Annotated[Caller, Depends(require_in_path("org:admin"))]
Leaver = Annotated[Caller, Depends(require_in_path("org:admin", "org:read"))]
Deleter = Annotated[Caller, Depends(require_in_path("org:delete"))]


@router.get("", summary="List the own organizations")
async def list_organizations(
    db: ReadDb,
    account: SignedIn,
    page: Page,
    sort: Annotated[str | None, sort_query("created_at", "updated_at", "name", "slug")] = None,
) -> Listed[OrganizationRead]:
    """Return the organizations that the caller belongs to, oldest first unless `sort` says
    otherwise."""
    return await organizations.list_organizations(db, account, page, sort=sort)


@router.post(
    "",
    summary="Make an organization",
    status_code=status.HTTP_201_CREATED,
    responses=refuses(
        errors.session_required(),
        errors.taken("slug"),
        errors.too_many("organizations", limit=ORGANIZATIONS_PER_USER_MAX),
    ),
)
async def create_organization(
    form: OrganizationCreate, db: Db, account: OwnSession, clock: TheClock, tagged: Tagged
) -> OrganizationRead:
    """Make an organization and own it."""
    return tagged(await organizations.create_organization(db, account, form, now=clock.now()))


@router.get("/{organization_id}", summary="Read an organization")
async def read_organization(db: ReadDb, caller: Reader, tagged: Tagged) -> OrganizationRead:
    """Return one of the caller's organizations."""
    return tagged(await organizations.read_organization(db, caller))


@router.put(
    "/{organization_id}",
    summary="Rename an organization",
    responses=refuses(errors.taken("slug")),
)
async def replace_organization(
    *,
    form: OrganizationReplace,
    db: Db,
    caller: Admin,
    clock: TheClock,
    match: IfMatch,
    tagged: Tagged,
) -> OrganizationRead:
    """Set the organization's name and, if given, its slug."""
    return tagged(
        await organizations.replace_organization(db, caller, form, now=clock.now(), match=match)
    )


@router.delete(
    "/{organization_id}",
    summary="Delete an organization",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=refuses(errors.organization_in_use()),
)
async def delete_organization(db: Db, caller: Deleter, clock: TheClock, match: IfMatch) -> None:
    """Delete the organization, its memberships and keys; refused while it still owns devices."""
    await organizations.delete_organization(db, caller, now=clock.now(), match=match)


@router.get("/{organization_id}/members", summary="List members")
async def list_members(
    db: ReadDb,
    caller: Reader,
    page: Page,
    sort: Annotated[str | None, sort_query("created_at", "email")] = None,
) -> Listed[MemberRead]:
    """Return members in the order in which they joined, unless `sort` says otherwise."""
    return await members.list_members(db, caller, page, sort=sort)


@router.post(
    "/{organization_id}/members",
    summary="Add a member",
    status_code=status.HTTP_201_CREATED,
    responses=refuses(
        errors.role_above_own(),
        errors.taken("membership"),
        errors.quota_exceeded("members", limit=5, used=5),
    ),
)
@limited("10/minute")
async def add_member(
    *,
    form: MemberAdd,
    db: Db,
    caller: Admin,
    clock: TheClock,
    quota: TheQuota,
    tagged: Tagged,
) -> MemberRead:
    """Make an existing user a member, in a role that is not above the caller's.

    The answer tells whether somebody has an account, as registering does; it is as hard to ask
    often. A user who does not want to be a member can leave. The `ETag` of the answer is what a
    change of the role or a removal may demand by `If-Match`.
    """
    return tagged(await members.add_member(db, caller, form, quota=quota, now=clock.now()))


@router.put(
    "/{organization_id}/members/{user_id}",
    summary="Change a member's role",
    responses=refuses(errors.role_above_own(), errors.last_owner()),
)
async def replace_member(
    *,
    user_id: str,
    form: MemberReplace,
    db: Db,
    caller: Admin,
    clock: TheClock,
    match: IfMatch,
    tagged: Tagged,
) -> MemberRead:
    """Give a member another role; the last owner stays one."""
    now = clock.now()
    return tagged(
        await members.replace_member(db, caller, user_id, form.role, now=now, match=match)
    )


@router.delete(
    "/{organization_id}/members/{user_id}",
    summary="Remove a member",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=refuses(errors.role_above_own(), errors.last_owner()),
)
async def remove_member(
    user_id: str, db: Db, caller: Leaver, clock: TheClock, match: IfMatch
) -> None:
    """Take a member out, which needs `org:admin`; with `org:read`, leave. The last owner cannot."""
    await members.remove_member(
        db,
        caller,
        user_id,
        now=clock.now(),
        demand=lambda member: match.demand(members.member_read(*member)),
    )
