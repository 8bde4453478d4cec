"""Revocation: what ends on one node ends on every node within a second."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest
from sqlalchemy import func, select

from fieldstation.core.clock import Clock, ManualClock, SystemClock
from fieldstation.core.errors import Busy
from fieldstation.core.events import Event
from fieldstation.core.ids import new_id
from fieldstation.db.database import Database, Session
from fieldstation.domains.identity.jobs import RevocationWatch, note_key_uses, purge_expired
from fieldstation.domains.identity.models import (
    ApiKey,
    LoginThrottle,
    RefreshToken,
    Revocation,
    SocketTicket,
)
from fieldstation.domains.identity.queries import credentials
from fieldstation.domains.identity.service.revocations import revoke
from tests.domains.identity.stations import (
    Person,
    Station,
    expect,
    make_tables,
    open_station,
    refusal,
)
from tests.domains.identity.test_keys import issue_device_key
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


class AbsentDatabase:
    """A database that is away the first times it is asked."""

    def __init__(self, database: Database, *, away: int) -> None:
        self.database = database
        self.away = away

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        if self.away > 0:
            self.away -= 1
            raise Busy("The database does not answer.")
        async with self.database.reading() as session:
            yield session

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        async with self.reading() as session:
            yield session


End = Callable[[Station, Person, Person], Awaitable[object]]


async def revoke_personal_key(_station: Station, _ada: Person, vic: Person) -> None:
    listed = expect(await vic.client.get("/api/v1/auth/api-keys"), 200)["items"]
    expect(await vic.client.delete(f"/api/v1/auth/api-keys/{listed[0]['id']}"), 204)


async def deactivate(_station: Station, ada: Person, vic: Person) -> None:
    expect(await ada.client.patch(f"/api/v1/users/{vic.id}", json={"is_active": False}), 200)


async def degrade(_station: Station, ada: Person, vic: Person) -> None:
    expect(await ada.client.patch(f"/api/v1/users/{vic.id}", json={"role": "viewer"}), 200)


async def remove(_station: Station, ada: Person, vic: Person) -> None:
    expect(await ada.client.delete(f"/api/v1/users/{vic.id}"), 204)


async def log_out(_station: Station, _ada: Person, vic: Person) -> None:
    expect(await vic.client.post("/api/v1/auth/logout"), 204)


async def change_password(station: Station, _ada: Person, vic: Person) -> None:
    other = await station.enter(vic.email)
    body = {"current_password": vic.password, "new_password": "seven-quiet-anvils-drift"}
    expect(await other.client.post("/api/v1/auth/password/change", json=body), 204)


async def delete_organization(_station: Station, ada: Person, _vic: Person) -> None:
    expect(await ada.client.delete(f"/api/v1/organizations/{ada.organization_id}"), 204)


@pytest.mark.parametrize(
    ("end", "what"),
    [
        (revoke_personal_key, "key"),
        (deactivate, "key"),
        (deactivate, "session"),
        (degrade, "session"),
        (remove, "key"),
        (log_out, "session"),
        (change_password, "session"),
        (delete_organization, "key"),
    ],
)
async def test_credential_ends_on_the_other_node_within_a_second(
    postgresql_url: str, end: End, what: str
) -> None:
    await make_tables(postgresql_url)
    async with (
        open_station(postgresql_url, clock=SystemClock()) as here,
        open_station(postgresql_url, clock=SystemClock()) as there,
        anyio.create_task_group() as tasks,
    ):
        ada = await here.register("ada@example.org")
        vic = await here.hire(ada, "vic@example.org", "operator")
        body = {"name": "script", "scopes": ["devices:read", "devices:write"]}
        key = expect(await vic.client.post("/api/v1/auth/api-keys", json=body), 201)["api_key"]
        token = key if what == "key" else vic.tokens["access_token"]
        expect(await there.client(token).get("/probe"), 200)
        tasks.start_soon(there.watch.run_forever)
        assert there.authenticator.cached(token) is not None
        await end(here, ada, vic)
        assert here.authenticator.cached(token) is None
        await wait_until(lambda: there.authenticator.cached(token) is None, timeout_s=1.0)
        tasks.cancel_scope.cancel()
        answer = await there.client(token).get("/probe")
        if end is degrade:
            assert "devices:write" not in expect(answer, 200)["scopes"]
        else:
            refusal(answer, 401, "unauthenticated")


async def announce(station: Station, subject: str, clock: Clock) -> None:
    async with station.database.transaction() as session:
        revoke(session, subject, now=clock.now())


async def test_own_revocations_are_announced_once(station: Station) -> None:
    await announce(station, "one", station.clock)
    assert await station.watch.poll() == 0
    assert station.revoked == ["one"]


async def test_each_revocation_of_others_is_announced_once(station: Station) -> None:
    seen: list[Event] = []
    watch = RevocationWatch(station.database, station.clock, seen.append)
    assert await watch.poll() == 0
    assert isinstance(station.clock, ManualClock)
    for number in range(3):
        await announce(station, f"subject {number}", station.clock)
        station.clock.advance(10)
    assert await watch.poll() == 3
    assert await watch.poll() == 0
    station.clock.advance(100)
    await announce(station, "later", station.clock)
    assert await watch.poll() == 1
    assert [getattr(event, "subject", None) for event in seen] == [
        "subject 0",
        "subject 1",
        "subject 2",
        "later",
    ]


async def test_row_that_was_committed_late_is_not_missed(station: Station) -> None:
    seen: list[Event] = []
    watch = RevocationWatch(station.database, station.clock, seen.append)
    await announce(station, "newest", station.clock)
    assert await watch.poll() == 1
    async with station.database.transaction() as session:
        at = station.clock.now() - timedelta(seconds=29)
        session.add(Revocation(id=new_id(), subject="late", at=at))
    assert await watch.poll() == 1


async def test_many_revocations_are_read_page_by_page(station: Station) -> None:
    total = credentials.REVOCATIONS_PER_PAGE * 2 + 1
    async with station.database.transaction() as session:
        session.add_all(
            Revocation(id=new_id(), subject=f"{number}", at=station.clock.now())
            for number in range(total)
        )
    assert await station.watch.poll() == total
    assert len(set(station.revoked)) == total


async def test_watch_outlives_an_absent_database(station: Station) -> None:
    seen: list[Event] = []
    database = AbsentDatabase(station.database, away=1)
    watch = RevocationWatch(
        database,  # type: ignore[arg-type]  # only its reading() is used
        station.clock,
        seen.append,
    )
    await announce(station, "one", station.clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run_forever)
        await wait_until(lambda: len(seen) == 1)
        tasks.cancel_scope.cancel()


async def test_key_uses_are_dropped_when_the_database_is_away(
    station: Station, ada: Person
) -> None:
    _, secret = await issue_device_key(station, ada.organization_id)
    await station.authenticator.authenticate(secret)
    away = AbsentDatabase(station.database, away=1)
    await note_key_uses(station.authenticator, away)  # type: ignore[arg-type]  # see above
    assert station.authenticator.take_key_uses() == {}


async def test_purge_deletes_only_what_is_over(station: Station, ada: Person) -> None:
    assert isinstance(station.clock, ManualClock)
    expect(await ada.client.post("/api/v1/auth/ws-ticket"), 200)
    await station.log_in(ada.email, "not the password")
    body = {"name": "x", "scopes": ["devices:read"]}
    for _ in range(2):
        made = expect(await ada.client.post("/api/v1/auth/api-keys", json=body), 201)
    expect(await ada.client.delete(f"/api/v1/auth/api-keys/{made['id']}"), 204)

    async def counts() -> list[int]:
        kinds = (SocketTicket, LoginThrottle, Revocation, RefreshToken, ApiKey)
        async with station.database.reading() as session:
            return [
                await session.scalar(select(func.count()).select_from(kind)) or 0 for kind in kinds
            ]

    async def purge() -> int:
        return await purge_expired(station.database, station.clock, station.settings.auth)

    assert await counts() == [1, 1, 1, 1, 2]
    assert await purge() == 0
    station.clock.advance(31)
    assert await purge() == 1
    assert await counts() == [0, 1, 1, 1, 2]
    station.clock.advance(timedelta(days=1).total_seconds())
    assert await purge() == 1
    assert await counts() == [0, 0, 1, 1, 2]
    station.clock.advance(timedelta(minutes=30).total_seconds())
    assert await purge() == 1
    assert await counts() == [0, 0, 0, 1, 2]
    station.clock.advance(timedelta(days=29).total_seconds())
    assert await purge() == 1
    station.clock.advance(timedelta(days=60).total_seconds())
    assert await purge() == 1
    assert await counts() == [0, 0, 0, 0, 1]
