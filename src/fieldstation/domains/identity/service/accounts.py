"""Makes user accounts and lets their users change them."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Invalid
from fieldstation.core.ids import new_id
from fieldstation.db.database import Database, Session
from fieldstation.domains.audit.schemas import STATION, Actor, Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.models import Membership, User
from fieldstation.domains.identity.queries import credentials, people
from fieldstation.domains.identity.schemas.callers import Account, Role
from fieldstation.domains.identity.schemas.credentials import PasswordChange
from fieldstation.domains.identity.schemas.users import (
    USERNAME_PATTERN,
    AccountRead,
    MeRead,
    RegisterRequest,
    StandingRead,
    well_formed_email,
)
from fieldstation.domains.identity.service.desk import Desk
from fieldstation.domains.identity.service.organizations import add_organization
from fieldstation.domains.identity.service.passwords import (
    Passwords,
    check_new_password,
)
from fieldstation.domains.identity.service.revocations import revoke_families
from fieldstation.domains.identity.service.sessions import record_failure, refuse_locked
from fieldstation.web.etags import ANY, Expected

GENERATED_PASSWORD_BYTES = 15
PROFILE_FIELDS = ("email", "username", "full_name", "is_active")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a new account says about its user."""

    email: str
    username: str | None = None
    full_name: str | None = None


async def register(
    desk: Desk,
    form: RegisterRequest,
    *,
    registration: Literal["open", "invite", "closed"],
    peer: str | None,
) -> AccountRead:
    """Make an account with an organization of its own.

    Raises ``Forbidden`` when registration is not open, ``Conflict`` for a taken name, ``Invalid``.
    """
    if registration != "open":
        raise errors.registration_closed()
    password = form.password.get_secret_value()
    check_new_password(password, form.email, form.username)
    password_hash = await desk.passwords.hash(password)
    profile = Profile(form.email, form.username, form.full_name)
    name = form.organization_name or f"{form.full_name or form.username or form.email}"[:100]
    async with desk.database.transaction() as session:
        now = desk.clock.now()
        user = new_user(profile, password_hash=password_hash, now=now)
        await people.insert(session, user)
        actor = Actor("user", user.id, peer)
        record_user(session, user, actor=actor, organization_id=None)
        await add_organization(session, name=name, owner_id=user.id, actor=actor, now=now)
    return AccountRead.model_validate(user)


async def create_user(
    database: Database,
    passwords: Passwords,
    profile: Profile,
    *,
    clock: Clock,
    organization_id: str,
    role: Role = Role.VIEWER,
    superuser: bool = False,
    password: str | None = None,
) -> tuple[AccountRead, str]:
    """Make an account from the command line; return it and its password, generated if not given.

    Raises ``Conflict`` for a taken name, ``Invalid``, ``NotFound`` for the organization.
    """
    profile = checked_profile(profile)
    chosen = password if password is not None else generated_password()
    check_new_password(chosen, profile.email, profile.username)
    password_hash = await passwords.hash(chosen)
    async with database.transaction() as session:
        if await people.organization(session, organization_id) is None:
            raise errors.no_such_organization()
        now = clock.now()
        user = new_user(profile, password_hash=password_hash, superuser=superuser, now=now)
        await people.insert(session, user)
        await people.insert(session, new_membership(user.id, organization_id, role=role, now=now))
        record_user(session, user, actor=STATION, organization_id=organization_id)
    return AccountRead.model_validate(user), chosen


def checked_profile(profile: Profile) -> Profile:
    """Return the profile with its address in normal form. Raises ``Invalid``."""
    if profile.username is not None and re.match(USERNAME_PATTERN, profile.username) is None:
        raise Invalid("username: give 3 to 50 letters, digits, dots, hyphens or underscores.")
    try:
        return Profile(well_formed_email(profile.email), profile.username, profile.full_name)
    except ValueError as error:
        raise Invalid(f"email: {error}") from error


async def set_password(
    database: Database,
    passwords: Passwords,
    login: str,
    *,
    clock: Clock,
    password: str | None = None,
) -> str:
    """Set a password from the command line, ending the account's sessions; return the password.

    Raises ``NotFound``, ``Invalid``.
    """
    chosen = password if password is not None else generated_password()
    check_new_password(chosen, login)
    password_hash = await passwords.hash(chosen)
    async with database.transaction() as session:
        user = await people.user_by_login(session, login)
        if user is None:
            raise errors.no_such_user()
        await people.locked_user(session, user.id)
        await replace_password(session, user, password_hash, now=clock.now())
        await credentials.clear_throttle(session, user.id)
        record_password(session, user, actor=STATION, now=clock.now())
    return chosen


async def list_users(
    session: Session, *, after_id: str | None = None, limit: int = 200
) -> list[AccountRead]:
    """Return accounts of the whole station, oldest first, a page at a time."""
    users = await people.users_after(session, after_id, limit=limit)
    return [AccountRead.model_validate(user) for user in users]


async def me(session: Session, account: Account) -> MeRead:
    """Return the signed-in user with their organizations.

    Raises ``Unauthenticated`` if they are gone.
    """
    user = await own_user(session, account)
    standings = [
        StandingRead(
            organization_id=standing.organization_id,
            name=standing.name,
            slug=standing.slug,
            role=standing.role,
            scopes=sorted(standing.scopes),
        )
        for standing in account.principal.standings
        if standing.role is not None
    ]
    return MeRead(
        **AccountRead.model_validate(user).model_dump(),
        is_superuser=user.is_superuser,
        organizations=standings,
    )


async def update_profile(
    session: Session,
    account: Account,
    changes: dict[str, Any],
    *,
    now: datetime,
    match: Expected = ANY,
) -> MeRead:
    """Change the user's own e-mail, username or name.

    Raises ``Conflict`` for a taken one, ``PreconditionFailed``.
    """
    await people.locked_user(session, account.user_id)
    user = await own_user(session, account)
    match.demand(await me(session, account))
    before, after = apply_profile(user, changes, now=now)
    await people.flush(session)
    if after:
        record(
            session,
            Change("user.updated", "user", user.id, before=before, after=after),
            actor=account.actor,
            organization_id=None,
            now=now,
        )
    return await me(session, account)


async def change_password(desk: Desk, account: Account, form: PasswordChange) -> None:
    """Replace the user's own password and end their other sessions.

    Wrong current passwords count as failed logins. Raises ``Forbidden``, ``Invalid``,
    ``TooManyRequests``, ``Busy``.
    """
    new_password = form.new_password.get_secret_value()
    async with desk.database.reading() as session:
        user = await own_user(session, account)
        refuse_locked(await credentials.throttle(session, user.id), desk.clock.now())
    check_new_password(new_password, user.email, user.username)
    old_hash = user.password_hash
    verdict = await desk.passwords.verify(form.current_password.get_secret_value(), old_hash)
    if not verdict.matches:
        await record_failure(desk, user.id)
        raise errors.wrong_password()
    new_hash = await desk.passwords.hash(new_password)
    async with desk.database.transaction() as session:
        now = desk.clock.now()
        locked = await people.locked_user(session, account.user_id)
        if locked is None or locked.password_hash != old_hash:
            raise errors.wrong_password()
        await replace_password(
            session, locked, new_hash, now=now, keep_family=account.principal.family_id
        )
        record_password(session, locked, actor=account.actor, now=now)


async def own_user(session: Session, account: Account) -> User:
    user = await people.user_by_id(session, account.user_id)
    if user is None:
        raise errors.bad_credential()
    return user


async def replace_password(
    session: Session,
    user: User,
    password_hash: str,
    *,
    now: datetime,
    keep_family: str | None = None,
) -> None:
    """Store a new hash and end the user's sessions, except one if named."""
    user.password_hash, user.updated_at = password_hash, now
    families = await credentials.live_families(session, user.id, now=now)
    await revoke_families(session, [name for name in families if name != keep_family], now=now)


def new_user(
    profile: Profile,
    *,
    password_hash: str,
    now: datetime,
    superuser: bool = False,
    managing_organization_id: str | None = None,
) -> User:
    return User(
        id=new_id(),
        email=profile.email,
        email_key=people.person_key(profile.email),
        username=profile.username,
        username_key=profile.username and people.person_key(profile.username),
        full_name=profile.full_name,
        password_hash=password_hash,
        is_active=True,
        is_superuser=superuser,
        managing_organization_id=managing_organization_id,
        created_at=now,
        updated_at=now,
        last_login_at=None,
    )


def new_membership(user_id: str, organization_id: str, *, role: Role, now: datetime) -> Membership:
    return Membership(
        organization_id=organization_id, user_id=user_id, role=role.value, created_at=now
    )


def apply_profile(
    user: User, changes: dict[str, Any], *, now: datetime
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set the profile fields that differ; return their old and new values."""
    after = profile_changes(user, changes)
    before = {name: getattr(user, name) for name in after}
    for name, value in after.items():
        setattr(user, name, value)
    if after:
        user.email_key = people.person_key(user.email)
        user.username_key = user.username and people.person_key(user.username)
        user.updated_at = now
    return before, after


def profile_changes(user: User, changes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in changes.items()
        if name in PROFILE_FIELDS and getattr(user, name) != value
    }


def generated_password() -> str:
    return secrets.token_urlsafe(GENERATED_PASSWORD_BYTES)


def record_user(session: Session, user: User, *, actor: Actor, organization_id: str | None) -> None:
    record(
        session,
        Change(
            "user.created",
            "user",
            user.id,
            after={
                "email": user.email,
                "username": user.username,
                "is_superuser": user.is_superuser,
            },
        ),
        actor=actor,
        organization_id=organization_id,
        now=user.created_at,
    )


def record_password(session: Session, user: User, *, actor: Actor, now: datetime) -> None:
    record(
        session,
        Change("user.password_changed", "user", user.id),
        actor=actor,
        organization_id=user.managing_organization_id,
        now=now,
    )
