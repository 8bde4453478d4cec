"""A small station for identity's tests: real routes, a real database, cheap hashing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as ThreadEvent
from typing import Any

import httpx2
from fastapi import APIRouter, FastAPI
from httpx2 import ASGITransport, AsyncClient, Response

from fieldstation.bus.memory import MemoryBus
from fieldstation.core.clock import Clock, ManualClock
from fieldstation.core.settings import DatabaseSettings, Settings, read_settings
from fieldstation.db.base import Base
from fieldstation.db.database import Database, Session
from fieldstation.db.engines import create_engines, database_url
from fieldstation.domains.audit.models import AuditEntry
from fieldstation.domains.identity import models, routes
from fieldstation.domains.identity.access import AnyCaller, Authenticator
from fieldstation.domains.identity.events import CredentialRevoked
from fieldstation.domains.identity.jobs import RevocationWatch
from fieldstation.domains.identity.ports import Quota
from fieldstation.domains.identity.schemas import Role
from fieldstation.domains.identity.service import accounts, organizations
from fieldstation.domains.identity.service.accounts import Profile
from fieldstation.domains.identity.service.bounds import OrganizationBounds
from fieldstation.domains.identity.service.passwords import Passwords, station_hasher
from fieldstation.domains.identity.service.tokens import KeyRing
from fieldstation.web.problems import install_problem_handlers
from fieldstation.web.rate_counters import RateCounters
from fieldstation.web.rate_limits import NamedLimits
from fieldstation.web.routing import mount

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SECRET = "a secret of the tests, thirty-two characters and more"
PASSWORD = "barefoot-otter-41-lamp"
BASE_URL = "http://station.test"
TABLES = (
    models.LoginThrottle,
    models.Revocation,
    models.SocketTicket,
    models.RefreshToken,
    models.ApiKey,
    models.Membership,
    models.User,
    models.Organization,
    AuditEntry,
)


class CountingHasher:
    """A real, cheap hasher that counts how often it works and can be made to wait."""

    HOLD_S_MAX = 10.0

    def __init__(self) -> None:
        self.hasher = station_hasher(memory_kib=8)
        self.hashed = 0
        self.verified = 0
        self.held_password: str | None = None
        self.holding, self.release = ThreadEvent(), ThreadEvent()

    def hash(self, password: str) -> str:
        self.hashed += 1
        return self.hasher.hash(password)

    def verify_and_update(self, password: str, hash: str) -> tuple[bool, str | None]:  # noqa: A002
        self.verified += 1
        if password == self.held_password:
            self.holding.set()
            self.release.wait(self.HOLD_S_MAX)
        return self.hasher.verify_and_update(password, hash)


def make_settings(**environment: str) -> Settings:
    return read_settings({"ENVIRONMENT": "test", "SECRET_KEY": SECRET, **environment})


def open_database(url: str, bus: MemoryBus) -> Database:
    """Open a database as one node does; several may be open on one PostgreSQL."""
    parsed = database_url(url, data_dir=Path())
    return Database(create_engines(parsed, DatabaseSettings()), bus.publish)


probe = APIRouter()


@probe.get("/probe")
@probe.post("/probe")
async def who_calls(caller: AnyCaller) -> dict[str, Any]:
    """Say how the station sees its caller."""
    return {
        "organization_id": caller.organization_id,
        "user_id": caller.user_id,
        "device_id": caller.device_id,
        "scopes": sorted(caller.scopes),
        "actor": [caller.actor.kind, caller.actor.id, caller.actor.peer],
    }


@dataclass
class Person:
    """A user of a test with their client, which sends their access token."""

    id: str
    email: str
    organization_id: str
    client: AsyncClient
    tokens: dict[str, Any]
    password: str = PASSWORD


@dataclass
class Station:
    """One node: everything that the runtime would build."""

    database: Database
    bus: MemoryBus
    clock: Clock
    settings: Settings
    hasher: CountingHasher
    passwords: Passwords
    authenticator: Authenticator
    watch: RevocationWatch
    app: FastAPI
    revoked: list[str] = field(default_factory=list)
    clients: list[AsyncClient] = field(default_factory=list)

    def client(self, token: str | None = None, **headers: str) -> AsyncClient:
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        client = AsyncClient(
            transport=ASGITransport(app=self.app), base_url=BASE_URL, headers=headers
        )
        self.clients.append(client)
        return client

    async def log_in(self, email: str, password: str = PASSWORD) -> Response:
        body = {"email": email, "password": password}
        return await self.client().post("/api/v1/auth/login", json=body)

    async def register(self, email: str, **fields: Any) -> Person:
        """Register and log in somebody with an organization of their own."""
        client = self.client()
        body = {"email": email, "password": PASSWORD, **fields}
        answer = await client.post("/api/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        return await self.enter(email)

    async def enter(self, email: str, password: str = PASSWORD) -> Person:
        tokens = expect(await self.log_in(email, password), 200)
        client = self.client(tokens["access_token"])
        me = expect(await client.get("/api/v1/auth/me"), 200)
        first = me["organizations"][0]["organization_id"] if me["organizations"] else ""
        return Person(me["id"], email, first, client, tokens, password)

    async def hire(self, owner: Person, email: str, role: str) -> Person:
        """Let an owner make a user in their organization, and log that user in."""
        body = {"email": email, "role": role, "password": PASSWORD}
        expect(await owner.client.post("/api/v1/users", json=body), 201)
        return await self.enter(email)

    async def make_superuser(self, email: str) -> Person:
        async with self.database.transaction() as session:
            first = await organizations.ensure_first_organization(
                session, name="The station", now=self.clock.now()
            )
        await accounts.create_user(
            self.database,
            self.passwords,
            Profile(email),
            clock=self.clock,
            organization_id=first.id,
            role=Role.OWNER,
            superuser=True,
            password=PASSWORD,
        )
        return await self.enter(email)

    def forget(self, event: CredentialRevoked) -> None:
        self.revoked.append(event.subject)
        self.authenticator.forget(event.subject)

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()
        await self.database.close()


async def no_devices(_session: Session, _organization_id: str) -> int:
    return 0


@asynccontextmanager
async def open_station(
    url: str,
    *,
    clock: Clock | None = None,
    quota: Quota | None = None,
    ring: KeyRing | None = None,
    principals_max: int = 100,
    **environment: str,
) -> AsyncIterator[Station]:
    """Build one node on a database that has its tables already."""
    clock = clock or ManualClock(START)
    settings, bus, hasher = make_settings(**environment), MemoryBus(), CountingHasher()
    database = open_database(url, bus)
    passwords = Passwords(hasher)
    authenticator = Authenticator(
        database,
        clock,
        settings.auth,
        ring or KeyRing(SECRET),
        principals_max=principals_max,
    )
    app = FastAPI()
    app.state.database, app.state.clock, app.state.settings = database, clock, settings
    app.state.authenticator, app.state.passwords = authenticator, passwords
    app.state.quota = quota or OrganizationBounds(settings.bounds, no_devices)
    unlimited = settings.limits.model_copy(update={"enabled": False})
    app.state.named_limits = NamedLimits(RateCounters(clock.now_us, keys_max=100), unlimited)
    install_problem_handlers(app)
    mount(app, [*routes.routers, probe])
    watch = RevocationWatch(database, clock, bus.publish)
    station = Station(database, bus, clock, settings, hasher, passwords, authenticator, watch, app)
    bus.subscribe(CredentialRevoked, station.forget)
    bus.subscribe(CredentialRevoked, watch.hear)
    try:
        yield station
    finally:
        await station.close()


async def make_tables(url: str) -> None:
    """Make every table, or empty those of an earlier test."""
    parsed = database_url(url, data_dir=Path())
    engines = create_engines(parsed, DatabaseSettings())
    async with engines.writer.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        if parsed.get_backend_name() == "postgresql":
            names = ", ".join(table.__tablename__ for table in TABLES)
            await connection.exec_driver_sql(f"TRUNCATE {names} CASCADE")
    await engines.close()


def expect(answer: httpx2.Response, status: int) -> Any:
    """Return the answer's body if it has this status."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    return answer.json() if answer.content else None


def refusal(answer: httpx2.Response, status: int, code: str) -> Any:
    """Return the problem details of a refusal with this status and code."""
    problem = expect(answer, status)
    assert problem["error"] == code, problem
    assert answer.headers["content-type"] == "application/problem+json"
    return problem
