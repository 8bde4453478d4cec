"""Tells whom a token stands for: from memory if it was seen before, else from the database."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from fieldstation.core.clock import Clock, instant_to_us, us_to_instant
from fieldstation.core.errors import Busy
from fieldstation.core.settings import AuthSettings
from fieldstation.db.database import Database, Session
from fieldstation.domains.identity import errors
from fieldstation.domains.identity.models import ApiKey, Membership, Organization, User
from fieldstation.domains.identity.queries import credentials as queries
from fieldstation.domains.identity.schemas.callers import (
    DEVICE_SCOPES,
    SYSTEM_SCOPE,
    Principal,
    Role,
    Standing,
    changed_subject,
    membership_subject,
    role_scopes,
)
from fieldstation.domains.identity.service.tokens import KeyRing, read_access

PRINCIPALS_MAX = 20_000
LOADS_MAX = 5
KEY_PREFIXES = ("fsu_", "fsd_")
SECRET_CHARACTERS = 47
ORGANIZATIONS_PER_USER_MAX = 50


class Authenticator:
    """Resolves tokens to principals.

    Remembers up to ``principals_max`` by the SHA-256 of their token; beyond that it drops the least
    recently used.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        settings: AuthSettings,
        key_ring: KeyRing,
        *,
        principals_max: int = PRINCIPALS_MAX,
    ) -> None:
        self.key_ring = key_ring
        self.settings = settings
        self.rotating: set[str] = set()
        self._database = database
        self._clock = clock
        self._principals_max = principals_max
        self._principals: OrderedDict[bytes, Principal] = OrderedDict()
        self._by_subject: dict[str, set[bytes]] = {}
        self._loading: dict[object, set[str]] = {}
        self._key_uses_us: dict[str, int] = {}

    async def authenticate(self, token: str) -> Principal:
        """Return whom a JWT, user key or device key stands for.

        Raises ``Unauthenticated`` (the same sentence whatever is wrong) or ``Busy``.
        """
        known = self.cached(token)
        if known is not None:
            return known
        for _ in range(LOADS_MAX):
            with self.hearing() as heard:
                principal = await self._load(token)
            if heard.isdisjoint(principal.subjects):
                self._remember(digest(token), principal)
                return principal
        raise Busy("The rights of this token change too fast; try again in a moment.")

    @contextmanager
    def hearing(self) -> Iterator[set[str]]:
        """Collect the subjects that end or change while somebody's rights are looked up."""
        mark, heard = object(), set[str]()
        self._loading[mark] = heard
        try:
            yield heard
        finally:
            del self._loading[mark]

    def cached(self, token: str) -> Principal | None:
        """Return whom a recently seen token stands for; None when unknown or expired. No I/O."""
        key = digest(token)
        principal = self._principals.get(key)
        if principal is None:
            return None
        now_us = self._clock.now_us()
        if principal.expires_at_us is not None and now_us >= principal.expires_at_us:
            self._drop(key)
            return None
        self._principals.move_to_end(key)
        if principal.key_id is not None:
            self._key_uses_us[principal.key_id] = now_us
        return principal

    def forget(self, subject: str) -> None:
        """Drop every principal that depends on the subject; one being loaded is loaded again."""
        for heard in self._loading.values():
            heard.add(subject)
        for key in tuple(self._by_subject.get(subject, ())):
            self._drop(key)

    def take_key_uses(self) -> dict[str, datetime]:
        """Return ``{key id: last use}`` since the last call."""
        uses = {key_id: us_to_instant(at_us) for key_id, at_us in self._key_uses_us.items()}
        self._key_uses_us.clear()
        return uses

    async def _load(self, token: str) -> Principal:
        now = self._clock.now()
        if token.startswith(KEY_PREFIXES):
            if len(token) != SECRET_CHARACTERS:
                raise errors.bad_credential()
            async with self._database.reading() as session:
                return await load_key(session, digest(token).hex(), now=now)
        claims = read_access(self.key_ring, token, now=now)
        async with self._database.reading() as session:
            if await queries.any_revoked(session, [claims.token_id, claims.family_id]):
                raise errors.bad_credential()
            user = await active_user(session, claims.user_id)
            memberships = await queries.memberships(
                session, user.id, limit=ORGANIZATIONS_PER_USER_MAX
            )
        return user_principal(
            user,
            tuple(standing_in(user, *item, narrowed=claims.scopes) for item in memberships),
            own={claims.token_id, claims.family_id},
            expires_at=claims.expires_at,
            token_id=claims.token_id,
            family_id=claims.family_id,
            narrowed=claims.scopes,
        )

    def _remember(self, key: bytes, principal: Principal) -> None:
        self._principals[key] = principal
        for subject in principal.subjects:
            self._by_subject.setdefault(subject, set()).add(key)
        if principal.key_id is not None:
            self._key_uses_us[principal.key_id] = self._clock.now_us()
        while len(self._principals) > self._principals_max:
            self._drop(next(iter(self._principals)))

    def _drop(self, key: bytes) -> None:
        for subject in self._principals.pop(key).subjects:
            keys = self._by_subject[subject]
            keys.discard(key)
            if not keys:
                del self._by_subject[subject]


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


async def load_key(session: Session, secret_hash: str, *, now: datetime) -> Principal:
    found = await queries.key_by_hash(session, secret_hash)
    if found is None:
        raise errors.bad_credential()
    key, organization = found
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise errors.bad_credential()
    if key.kind == "device":
        return device_principal(key, organization)
    user = await active_user(session, key.subject_id)
    mine = [
        item
        for item in await queries.memberships(session, user.id, limit=ORGANIZATIONS_PER_USER_MAX)
        if item[1].id == organization.id
    ]
    if not mine:
        raise errors.bad_credential()
    narrowed = frozenset(key.scopes)
    return user_principal(
        user,
        (standing_in(user, *mine[0], narrowed=narrowed),),
        own={key.id},
        expires_at=key.expires_at,
        key_id=key.id,
        narrowed=narrowed,
    )


async def active_user(session: Session, user_id: str) -> User:
    user = await queries.user(session, user_id)
    if user is None or not user.is_active:
        raise errors.bad_credential()
    return user


def standing_in(
    user: User,
    membership: Membership,
    organization: Organization,
    *,
    narrowed: frozenset[str] | None,
) -> Standing:
    role = Role(membership.role)
    return Standing(
        organization_id=organization.id,
        name=organization.name,
        slug=organization.slug,
        role=role,
        scopes=role_scopes(role, superuser=user.is_superuser, narrowed=narrowed),
    )


def user_principal(
    user: User,
    standings: tuple[Standing, ...],
    *,
    own: set[str],
    expires_at: datetime | None,
    narrowed: frozenset[str] | None,
    key_id: str | None = None,
    token_id: str | None = None,
    family_id: str | None = None,
) -> Principal:
    subjects = own | {user.id, changed_subject(user.id)}
    for standing in standings:
        subjects.add(membership_subject(user.id, standing.organization_id))
        subjects.add(standing.organization_id)
        subjects.add(changed_subject(standing.organization_id))
    return Principal(
        kind="user",
        id=user.id,
        superuser=user.is_superuser and (narrowed is None or SYSTEM_SCOPE in narrowed),
        standings=standings,
        subjects=frozenset(subjects),
        expires_at=expires_at,
        expires_at_us=None if expires_at is None else instant_to_us(expires_at),
        key_id=key_id,
        token_id=token_id,
        family_id=family_id,
        full=narrowed is None,
    )


def device_principal(key: ApiKey, organization: Organization) -> Principal:
    return Principal(
        kind="device",
        id=key.subject_id,
        superuser=False,
        standings=(
            Standing(organization.id, organization.name, organization.slug, None, DEVICE_SCOPES),
        ),
        subjects=frozenset(
            {key.id, key.subject_id, organization.id, changed_subject(organization.id)}
        ),
        expires_at=key.expires_at,
        expires_at_us=None if key.expires_at is None else instant_to_us(key.expires_at),
        key_id=key.id,
    )
