"""Decides about the users of an organization: who joins, in which role, who leaves."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from fieldstation.core.errors import Invalid
from fieldstation.db.database import Session
from fieldstation.domains.audit.schemas import Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.models import Membership, User
from fieldstation.domains.identity.ports import Quota
from fieldstation.domains.identity.queries import credentials, people
from fieldstation.domains.identity.schemas.callers import Caller, Role
from fieldstation.domains.identity.schemas.organizations import MemberAdd, MemberRead
from fieldstation.domains.identity.schemas.users import (
    AccountRead,
    UserCreate,
    UserCreated,
    UserRead,
)
from fieldstation.domains.identity.service.accounts import (
    Profile,
    apply_profile,
    generated_password,
    new_membership,
    new_user,
    profile_changes,
    record_password,
    record_user,
    replace_password,
)
from fieldstation.domains.identity.service.desk import Desk
from fieldstation.domains.identity.service.organizations import (
    leave_room,
    refuse_without_owner,
)
from fieldstation.domains.identity.service.passwords import check_new_password
from fieldstation.domains.identity.service.revocations import (
    note_change,
    revoke,
    revoke_families,
    revoke_membership,
)
from fieldstation.web.etags import ANY, Expected
from fieldstation.web.pagination import Listed, PageRequest, cut_page
from fieldstation.web.sorting import Order, parse_sort


async def list_users(
    session: Session,
    caller: Caller,
    page: PageRequest,
    *,
    filters: Mapping[str, Any],
    sort: str | None = None,
) -> Listed[UserRead]:
    """Return the organization's users, the oldest account first unless ``sort`` says otherwise.

    Filters ``role``, ``is_active``, ``q``. Raises ``Invalid`` for a foreign cursor or order.
    """
    order = parse_sort(sort, sortable=people.USER_SORTABLE, default="created_at")
    kept, cursor, total = await page_of_members(session, caller, page, order=order, filters=filters)
    return Listed(items=[user_read(*item) for item in kept], next_cursor=cursor, total=total)


async def list_members(
    session: Session, caller: Caller, page: PageRequest, *, sort: str | None = None
) -> Listed[MemberRead]:
    """Return the organization's members, the oldest membership first unless ``sort`` says
    otherwise.

    Raises ``Invalid`` for a foreign cursor or order.
    """
    order = parse_sort(sort, sortable=people.MEMBER_SORTABLE, default="created_at")
    kept, cursor, total = await page_of_members(session, caller, page, order=order, filters={})
    return Listed(items=[member_read(*item) for item in kept], next_cursor=cursor, total=total)


async def page_of_members(
    session: Session,
    caller: Caller,
    page: PageRequest,
    *,
    order: Order[people.Member],
    filters: Mapping[str, Any],
) -> tuple[list[people.Member], str | None, int | None]:
    rows = await people.members(
        session,
        caller.organization_id,
        order=order,
        after=order.after(page),
        limit=page.limit + 1,
        filters=filters,
    )
    kept, cursor = cut_page(rows, page, lambda row: order.key(row, row[0].id))
    total = None
    if page.include_total:
        total = await people.count_members(session, caller.organization_id, filters=filters)
    return kept, cursor, total


async def read_user(session: Session, caller: Caller, user_id: str) -> UserRead:
    """Return one user of the organization. Raises ``NotFound``."""
    return user_read(*await member_of(session, caller, user_id))


async def create_user(desk: Desk, caller: Caller, form: UserCreate, *, quota: Quota) -> UserCreated:
    """Make an account that the caller's organization manages.

    Raises ``Conflict`` for a taken name, ``Forbidden`` for a role above the caller's,
    ``QuotaExceeded``, ``Invalid``, ``Busy``.
    """
    refuse_above(caller, form.role)
    given = form.password
    password = generated_password() if given is None else given.get_secret_value()
    check_new_password(password, form.email, form.username)
    password_hash = await desk.passwords.hash(password)
    async with desk.database.transaction() as session:
        now = desk.clock.now()
        await quota.check(session, caller.organization_id, "members", adding=1)
        user = new_user(
            Profile(form.email, form.username, form.full_name),
            password_hash=password_hash,
            managing_organization_id=caller.organization_id,
            now=now,
        )
        await people.insert(session, user)
        membership = new_membership(user.id, caller.organization_id, role=form.role, now=now)
        await people.insert(session, membership)
        record_user(session, user, actor=caller.actor, organization_id=caller.organization_id)
        record_member(session, caller, "member.added", user.id, after=form.role, now=now)
    shown = None if given is not None else password
    return UserCreated(**user_read(user, membership).model_dump(), password=shown)


async def update_user(
    desk: Desk, caller: Caller, user_id: str, changes: dict[str, Any], *, match: Expected = ANY
) -> UserRead:
    """Change a member's role and, of an account that the organization manages, everything else.

    Raises ``NotFound``, ``Forbidden``, ``Conflict`` (taken name, last owner), ``Invalid``.
    """
    password_hash = None
    if "password" in changes:
        password = changes["password"].get_secret_value()
        check_new_password(password, changes.get("email"), changes.get("username"))
        password_hash = await desk.passwords.hash(password)
    async with desk.database.transaction() as session:
        now = desk.clock.now()
        await people.locked_user(session, user_id)
        user, membership = await member_of(session, caller, user_id)
        match.demand(user_read(user, membership))
        refuse_above(caller, Role(membership.role))
        if password_hash is not None or profile_changes(user, changes):
            await refuse_unmanaged(session, caller, user)
        await change_role(session, caller, membership, changes.get("role"), now=now)
        await change_account(session, caller, user, changes, now=now)
        if password_hash is not None:
            await replace_password(session, user, password_hash, now=now)
            record_password(session, user, actor=caller.actor, now=now)
    return user_read(user, membership)


async def add_member(
    session: Session, caller: Caller, form: MemberAdd, *, quota: Quota, now: datetime
) -> MemberRead:
    """Make an existing user a member.

    Raises ``Invalid`` for an unknown user, ``Forbidden`` for a role above the caller's,
    ``Conflict``, ``QuotaExceeded``.
    """
    refuse_above(caller, form.role)
    if form.user_id is not None:
        user = await people.user_by_id(session, form.user_id)
    else:
        user = await people.user_by_login(session, form.email or "")
    if user is None:
        raise Invalid("There is no user with this id or e-mail address.", code="unknown_reference")
    await leave_room(session, user.id)
    await quota.check(session, caller.organization_id, "members", adding=1)
    membership = new_membership(user.id, caller.organization_id, role=form.role, now=now)
    await people.insert(session, membership)
    note_change(session, user.id, now=now)
    record_member(session, caller, "member.added", user.id, after=form.role, now=now)
    return member_read(user, membership)


async def replace_member(
    session: Session,
    caller: Caller,
    user_id: str,
    role: Role,
    *,
    now: datetime,
    match: Expected = ANY,
) -> MemberRead:
    """Give a member another role.

    Raises ``NotFound``, ``Forbidden``, ``PreconditionFailed``, ``Conflict`` for the last owner.
    """
    await people.locked_user(session, user_id)
    user, membership = await member_of(session, caller, user_id)
    match.demand(member_read(user, membership))
    refuse_above(caller, Role(membership.role))
    await change_role(session, caller, membership, role, now=now)
    return member_read(user, membership)


async def remove_member(
    session: Session,
    caller: Caller,
    user_id: str,
    *,
    now: datetime,
    demand: Callable[[people.Member], None],
) -> None:
    """Take a user out of the organization; members may take themselves out.

    Their keys for this organization end with it; ``demand`` may refuse the member as they are.
    Raises ``NotFound``, ``Forbidden``, ``Conflict`` for the last owner, and what ``demand`` raises.
    """
    leaving = caller.full and user_id == caller.user_id
    if not leaving and "org:admin" not in caller.scopes:
        raise errors.missing_scope("org:admin")
    await people.locked_user(session, user_id)
    user, membership = await member_of(session, caller, user_id)
    demand((user, membership))
    role = Role(membership.role)
    refuse_above(caller, role)
    if role is Role.OWNER:
        await refuse_without_owner(session, [caller.organization_id], leaving_user_id=user_id)
    await people.delete_row(session, membership)
    await credentials.revoke_keys(session, caller.organization_id, subject_id=user_id, now=now)
    revoke_membership(session, user_id=user_id, organization_id=caller.organization_id, now=now)
    record_member(session, caller, "member.removed", user_id, before=role, now=now)


async def member_of(session: Session, caller: Caller, user_id: str) -> people.Member:
    found = await people.member(session, caller.organization_id, user_id=user_id)
    if found is None:
        raise errors.no_such_user()
    return found


async def change_role(
    session: Session, caller: Caller, membership: Membership, role: Role | None, *, now: datetime
) -> None:
    old = Role(membership.role)
    if role is None or role is old:
        return
    refuse_above(caller, role)
    if old is Role.OWNER:
        await refuse_without_owner(
            session, [caller.organization_id], leaving_user_id=membership.user_id
        )
    membership.role = role.value
    revoke_membership(
        session, user_id=membership.user_id, organization_id=caller.organization_id, now=now
    )
    record_member(
        session, caller, "member.role_changed", membership.user_id, before=old, after=role, now=now
    )


async def change_account(
    session: Session, caller: Caller, user: User, changes: dict[str, Any], *, now: datetime
) -> None:
    """Apply what is not the role; an account that becomes inactive loses its sessions at once."""
    before, after = apply_profile(user, changes, now=now)
    await people.flush(session)
    if after.get("is_active") is False:
        owned = await people.owned_organization_ids(session, user.id)
        await refuse_without_owner(session, owned, leaving_user_id=user.id)
        families = await credentials.live_families(session, user.id, now=now)
        await revoke_families(session, families, now=now)
        revoke(session, user.id, now=now)
    if after:
        record(
            session,
            Change("user.updated", "user", user.id, before=before, after=after),
            actor=caller.actor,
            organization_id=caller.organization_id,
            now=now,
        )


def refuse_above(caller: Caller, role: Role) -> None:
    """Return if the role is at most the caller's own. Raises ``Forbidden``."""
    if not caller.superuser and (caller.role is None or role.rank > caller.role.rank):
        raise errors.role_above_own()


async def refuse_unmanaged(session: Session, caller: Caller, user: User) -> None:
    """Return if the caller's organization manages the account, which is a member nowhere else.

    Otherwise a new password would open what other organizations own. Raises ``Forbidden``.
    """
    if caller.superuser:
        return
    managed = user.managing_organization_id == caller.organization_id and not user.is_superuser
    if not managed or await people.count_memberships(session, user.id) > 1:
        raise errors.account_not_managed()


def record_member(
    session: Session,
    caller: Caller,
    action: str,
    user_id: str,
    *,
    now: datetime,
    before: Role | None = None,
    after: Role | None = None,
) -> None:
    change = Change(
        action,
        "member",
        user_id,
        before=None if before is None else {"role": before.value},
        after=None if after is None else {"role": after.value},
    )
    record(session, change, actor=caller.actor, organization_id=caller.organization_id, now=now)


def user_read(user: User, membership: Membership) -> UserRead:
    return UserRead(
        **AccountRead.model_validate(user).model_dump(),
        role=Role(membership.role),
        managed=user.managing_organization_id == membership.organization_id,
    )


def member_read(user: User, membership: Membership) -> MemberRead:
    return MemberRead(
        user_id=user.id,
        email=user.email,
        username=user.username,
        full_name=user.full_name,
        role=Role(membership.role),
        is_active=user.is_active,
        created_at=membership.created_at,
    )
