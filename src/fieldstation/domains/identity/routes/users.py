"""The users of an organization, and the caller's own account."""

from typing import Annotated

from fastapi import Depends, Query, status
from starlette.convertors import Convertor, register_url_convertor

from fieldstation.domains.identity import errors
from fieldstation.domains.identity.access import (
    Caller,
    OwnSession,
    SignedIn,
    TheDesk,
    TheQuota,
    require,
)
from fieldstation.domains.identity.schemas.callers import Role
from fieldstation.domains.identity.schemas.users import (
    MeRead,
    ProfileUpdate,
    UserCreate,
    UserCreated,
    UserRead,
    UserReplace,
    UserUpdate,
)
from fieldstation.domains.identity.service import accounts, members
from fieldstation.web.dependencies import Db, ReadDb, TheClock
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.etags import IfMatch, Tagged
from fieldstation.web.pagination import Listed, Page
from fieldstation.web.rate_limits import limited
from fieldstation.web.routing import API, station_router
from fieldstation.web.sorting import sort_query


class UserIdConvertor(Convertor[str]):
    """Takes any id but ``me``, a path of its own: what `/me` does not take is then a 405 there."""

    regex = "(?!me$)[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("user_id", UserIdConvertor())
router = station_router(f"{API}/users", tag="Users")

OrganizationReader = Annotated[Caller, Depends(require("org:read"))]
OrganizationAdmin = Annotated[Caller, Depends(require("org:admin"))]
NAMES_TAKEN = (errors.taken("email_key"), errors.taken("username_key"))
CHANGE_REFUSED = refuses(
    errors.role_above_own(), errors.account_not_managed(), errors.last_owner(), *NAMES_TAKEN
)


@router.get("", summary="List the organization's users")
async def list_users(
    *,
    db: ReadDb,
    caller: OrganizationReader,
    page: Page,
    role: Annotated[Role | None, Query(description="Only this role.")] = None,
    is_active: Annotated[bool | None, Query(description="Only active or inactive ones.")] = None,
    q: Annotated[
        str | None,
        Query(max_length=100, description="Part of e-mail, username or name.", examples=["grace"]),
    ] = None,
    sort: Annotated[str | None, sort_query("created_at", "updated_at", "email")] = None,
) -> Listed[UserRead]:
    """Return users in the order in which their accounts were made, unless `sort` says otherwise."""
    filters = {"role": role, "is_active": is_active, "q": q}
    return await members.list_users(db, caller, page, filters=filters, sort=sort)


@router.post(
    "",
    summary="Make a user",
    status_code=status.HTTP_201_CREATED,
    responses=refuses(
        errors.role_above_own(),
        errors.quota_exceeded("members", limit=5, used=5),
        *NAMES_TAKEN,
    ),
)
async def create_user(
    form: UserCreate, caller: OrganizationAdmin, desk: TheDesk, quota: TheQuota, tagged: Tagged
) -> UserCreated:
    """Make an account that this organization manages; a generated password is shown this once."""
    return tagged(await members.create_user(desk, caller, form, quota=quota))


@router.get("/me", summary="Who am I")
@limited("60/minute")
async def read_me(db: ReadDb, account: SignedIn, tagged: Tagged) -> MeRead:
    """Return the signed-in user with organizations, roles and scopes."""
    return tagged(await accounts.me(db, account))


@router.patch(
    "/me",
    summary="Change the own profile",
    responses=refuses(errors.session_required(), *NAMES_TAKEN),
)
async def update_me(
    *,
    form: ProfileUpdate,
    db: Db,
    account: OwnSession,
    clock: TheClock,
    match: IfMatch,
    tagged: Tagged,
) -> MeRead:
    """Change one's e-mail address, username or name."""
    changes = form.model_dump(exclude_unset=True)
    return tagged(await accounts.update_profile(db, account, changes, now=clock.now(), match=match))


@router.get("/{user_id:user_id}", summary="Read a user")
async def read_user(
    user_id: str, db: ReadDb, caller: OrganizationReader, tagged: Tagged
) -> UserRead:
    """Return one user of the organization."""
    return tagged(await members.read_user(db, caller, user_id))


@router.put("/{user_id:user_id}", summary="Replace a user", responses=CHANGE_REFUSED)
async def replace_user(
    *,
    user_id: str,
    form: UserReplace,
    caller: OrganizationAdmin,
    desk: TheDesk,
    match: IfMatch,
    tagged: Tagged,
) -> UserRead:
    """Set everything about a user; only the role, unless this organization manages the account."""
    changes = form.model_dump()
    return tagged(await members.update_user(desk, caller, user_id, changes, match=match))


@router.patch("/{user_id:user_id}", summary="Change a user", responses=CHANGE_REFUSED)
async def update_user(
    *,
    user_id: str,
    form: UserUpdate,
    caller: OrganizationAdmin,
    desk: TheDesk,
    match: IfMatch,
    tagged: Tagged,
) -> UserRead:
    """Change what is given; only the role, unless this organization manages the account."""
    changes = form.model_dump(exclude_unset=True)
    return tagged(await members.update_user(desk, caller, user_id, changes, match=match))


@router.delete(
    "/{user_id:user_id}",
    summary="Remove a user",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=refuses(errors.role_above_own(), errors.last_owner()),
)
async def remove_user(
    user_id: str, db: Db, caller: OrganizationAdmin, clock: TheClock, match: IfMatch
) -> None:
    """End the user's membership; their tokens and keys stop working here at once."""
    await members.remove_member(
        db,
        caller,
        user_id,
        now=clock.now(),
        demand=lambda member: match.demand(members.user_read(*member)),
    )
