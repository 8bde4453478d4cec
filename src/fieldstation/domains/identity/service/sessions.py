"""Opens, renews and ends users' sessions."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from fieldstation.core.errors import Conflict, Invalid
from fieldstation.core.ids import new_id
from fieldstation.core.rates import RateLimit
from fieldstation.db.database import Session
from fieldstation.domains.audit.schemas import STATION, Actor, Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.models import LoginThrottle, RefreshToken, User
from fieldstation.domains.identity.queries import credentials as queries
from fieldstation.domains.identity.queries import people
from fieldstation.domains.identity.schemas.callers import (
    USER_SCOPES,
    Account,
    Principal,
)
from fieldstation.domains.identity.schemas.credentials import TokensRead
from fieldstation.domains.identity.service.desk import Desk
from fieldstation.domains.identity.service.passwords import Verdict
from fieldstation.domains.identity.service.revocations import revoke, revoke_families
from fieldstation.domains.identity.service.tokens import (
    digest_of,
    new_secret,
    sign_access,
)
from fieldstation.web.rate_limits import NamedLimits

SESSIONS_PER_USER_MAX = 50
FIRST_LOCK_S = 30
LOCK_S_MAX = 15 * 60
FAILURES_FORGOTTEN_AFTER = timedelta(hours=24)
LOGINS_OF_ONE_ACCOUNT = RateLimit(20, 60)
"""From wherever they come and by whichever of its names; guesses that fail also pause the account
(FAILED_LOGINS_MAX)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who somebody says they are: what is known before the password is checked."""

    throttle_key: str
    user_id: str | None
    password_hash: str | None


async def log_in(
    desk: Desk,
    limits: NamedLimits,
    *,
    login: str,
    password: str,
    scope: str = "",
    peer: str | None = None,
) -> TokensRead:
    """Check a password and open a session; ``scope`` narrows it.

    An unknown name and a wrong password take the same work and get the same answer. Raises
    ``Unauthenticated``, ``TooManyRequests`` after too many attempts or failures, ``Busy``,
    ``Invalid``.
    """
    scopes = narrowed_scopes(scope)
    candidate = await find_candidate(desk, limits, login)
    verdict = await desk.passwords.verify(password, candidate.password_hash)
    if not verdict.matches:
        await record_failure(desk, candidate.throttle_key)
        raise errors.bad_login()
    async with desk.database.transaction() as session:
        user = await admit(session, desk, candidate, verdict)
        return await open_session(session, desk, user, scopes=scopes, peer=peer)


def narrowed_scopes(scope: str) -> list[str] | None:
    """Read the OAuth2 form's scope; empty means all.

    Raises ``Invalid`` for a scope that does not exist.
    """
    named = sorted(set(scope.split()))
    unknown = [name for name in named if name not in USER_SCOPES]
    if unknown:
        raise Invalid(f"scope: {unknown[0][:50]!r} is not a scope.", code="unknown_scope")
    return named or None


async def find_candidate(desk: Desk, limits: NamedLimits, login: str) -> Candidate:
    async with desk.database.reading() as session:
        user = await people.user_by_login(session, login)
        key = throttle_key(login) if user is None else user.id
        throttle = await queries.throttle(session, key)
    limits.demand("login", key, LOGINS_OF_ONE_ACCOUNT)
    refuse_locked(throttle, desk.clock.now())
    if user is None:
        return Candidate(key, None, None)
    return Candidate(key, user.id, user.password_hash)


def throttle_key(login: str) -> str:
    """Return under which key failures for a name that is no account are counted."""
    return hashlib.sha256(people.person_key(login).encode("utf-8", "replace")).hexdigest()


def refuse_locked(throttle: LoginThrottle | None, now: datetime) -> None:
    if throttle is not None and throttle.locked_until is not None and throttle.locked_until > now:
        remaining = throttle.locked_until - now
        raise errors.locked_out(int(remaining.total_seconds()) + 1)


async def record_failure(desk: Desk, key: str) -> None:
    """Count a failed login; from the tenth on each locks, twice as long as the one before."""
    try:
        await write_failure(desk, key)
    except Conflict:  # another first failure was faster: its row is there now
        await write_failure(desk, key)


async def write_failure(desk: Desk, key: str) -> None:
    async with desk.database.transaction() as session:
        await count_failure(session, desk, key)


async def count_failure(session: Session, desk: Desk, key: str) -> None:
    now = desk.clock.now()
    throttle = await queries.locked_throttle(session, key)
    if throttle is None:
        throttle = LoginThrottle(key=key, failures=0, locked_until=None, updated_at=now)
        await queries.insert_throttle(session, throttle)
    refuse_locked(throttle, now)
    if throttle.updated_at <= now - FAILURES_FORGOTTEN_AFTER:
        throttle.failures = 0
    throttle.failures += 1
    throttle.updated_at = now
    excess = throttle.failures - desk.settings.failed_logins_max
    if excess >= 0:
        lock_s = min(FIRST_LOCK_S * 2 ** min(excess, 10), LOCK_S_MAX)
        throttle.locked_until = now + timedelta(seconds=lock_s)


async def admit(session: Session, desk: Desk, candidate: Candidate, verdict: Verdict) -> User:
    """Let a user with the right password in, if nothing changed while it was checked."""
    now = desk.clock.now()
    user = await people.locked_user(session, candidate.user_id or "")
    throttle = await queries.locked_throttle(session, candidate.throttle_key)
    refuse_locked(throttle, now)
    if user is None or not user.is_active or user.password_hash != candidate.password_hash:
        raise errors.bad_login()
    if throttle is not None:
        await queries.clear_throttle(session, candidate.throttle_key)
    if verdict.replacement is not None:
        user.password_hash = verdict.replacement
    user.last_login_at = now
    return user


async def open_session(
    session: Session, desk: Desk, user: User, *, scopes: list[str] | None, peer: str | None
) -> TokensRead:
    """Start a token family; beyond 50 sessions the ones unused for longest end."""
    now = desk.clock.now()
    family_id = new_id()
    others = await queries.live_families(session, user.id, now=now)
    await revoke_families(session, others[SESSIONS_PER_USER_MAX - 1 :], now=now)
    record(
        session,
        Change("session.opened", "session", family_id, after={"scopes": scopes}),
        actor=Actor("user", user.id, peer),
        organization_id=None,
        now=now,
    )
    return add_tokens(session, desk, user_id=user.id, family_id=family_id, scopes=scopes)


def add_tokens(
    session: Session, desk: Desk, *, user_id: str, family_id: str, scopes: list[str] | None
) -> TokensRead:
    """Store a new refresh token and sign an access token beside it."""
    now, secret = desk.clock.now(), new_secret()
    lifetime = timedelta(minutes=desk.settings.access_token_expire_minutes)
    queries.add(
        session,
        RefreshToken(
            id=new_id(),
            family_id=family_id,
            user_id=user_id,
            token_hash=digest_of(secret),
            scopes=scopes,
            created_at=now,
            expires_at=now + timedelta(days=desk.settings.refresh_token_expire_days),
            used_at=None,
            revoked_at=None,
        ),
    )
    return TokensRead(
        access_token=sign_access(
            desk.key_ring,
            user_id=user_id,
            family_id=family_id,
            scopes=scopes,
            now=now,
            lifetime=lifetime,
        ),
        refresh_token=secret,
        expires_in=int(lifetime.total_seconds()),
        scope=None if scopes is None else " ".join(scopes),
    )


async def refresh(desk: Desk, token: str, *, peer: str | None = None) -> TokensRead:
    """Exchange a refresh token for the next pair; of two at the same time one wins.

    A token that comes back after its exchange was stolen on one side or the other: its family ends.
    One that was seen unused and then was exchanged on another node meanwhile only loses; no clock
    is asked. Raises ``Unauthenticated`` or ``Busy``.
    """
    token_hash = digest_of(token)
    if token_hash in desk.rotating:
        raise errors.bad_credential()
    desk.rotating.add(token_hash)
    try:
        async with desk.database.transaction() as session:
            found = await queries.refresh_token(session, token_hash)
            if found is not None and found.used_at is None:
                return await rotate(session, desk, found)
            if found is not None and found.revoked_at is None:
                await end_reused(session, desk, found, peer=peer)
    finally:
        desk.rotating.discard(token_hash)
    raise errors.bad_credential()


async def rotate(session: Session, desk: Desk, token: RefreshToken) -> TokensRead:
    """Exchange an unused token. Raises ``Unauthenticated`` when it ended or lost a race."""
    user = await people.locked_user(session, token.user_id)
    if user is None or not user.is_active:
        raise errors.bad_credential()
    tokens = add_tokens(
        session, desk, user_id=user.id, family_id=token.family_id, scopes=token.scopes
    )
    if not await queries.use_refresh_token(session, token.id, now=desk.clock.now()):
        raise errors.bad_credential()
    return tokens


async def end_reused(
    session: Session, desk: Desk, token: RefreshToken, *, peer: str | None
) -> None:
    """End the family of a token that was exchanged before."""
    await people.locked_user(session, token.user_id)
    now = desk.clock.now()
    await revoke_families(session, [token.family_id], now=now)
    record(
        session,
        Change("session.reuse_detected", "session", token.family_id),
        actor=Actor(STATION.kind, None, peer),
        organization_id=None,
        now=now,
    )


async def log_out(session: Session, account: Account, *, now: datetime) -> None:
    """End this session: its refresh tokens and this access token.

    Raises ``Forbidden`` for an API key.
    """
    family_id, token_id = session_ids(account.principal)
    await people.locked_user(session, account.user_id)
    await revoke_families(session, [family_id], now=now)
    revoke(session, token_id, now=now)
    record(
        session,
        Change("session.closed", "session", family_id),
        actor=account.actor,
        organization_id=None,
        now=now,
    )


def session_ids(principal: Principal) -> tuple[str, str]:
    if principal.family_id is None or principal.token_id is None:
        raise errors.session_required()
    return principal.family_id, principal.token_id
