"""The authenticator's memory: bounded, and never staler than a revocation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from starlette.datastructures import Headers

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Busy, Forbidden, NotFound, Unauthenticated
from fieldstation.db.database import Database, Session
from fieldstation.domains.identity.access import caller_from_headers, caller_of
from fieldstation.domains.identity.schemas.callers import changed_subject, membership_subject
from fieldstation.domains.identity.service.authenticator import Authenticator
from fieldstation.domains.identity.service.tokens import KeyRing
from tests.domains.identity.stations import SECRET, Person, Station, open_station
from tests.domains.identity.test_keys import DEVICE, issue_device_key

pytestmark = pytest.mark.anyio


class PausingDatabase:
    """A database whose readers stop once they have read, until they are let go."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.have_read = 0
        self.go = anyio.Event()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        async with self.database.reading() as session:
            yield session
        self.have_read += 1
        await self.go.wait()


async def test_known_token_needs_no_database(station: Station, ada: Person) -> None:
    token = ada.tokens["access_token"]
    principal = await station.authenticator.authenticate(token)
    assert station.authenticator.cached(token) is principal
    await station.database.close()
    assert await station.authenticator.authenticate(token) is principal
    assert station.authenticator.cached("another token") is None


async def test_tokens_themselves_are_not_kept(station: Station, ada: Person) -> None:
    token = ada.tokens["access_token"]
    await station.authenticator.authenticate(token)
    assert token not in repr(vars(station.authenticator))


async def test_principal_says_what_ends_it(station: Station, ada: Person) -> None:
    user = await station.authenticator.authenticate(ada.tokens["access_token"])
    caller = caller_of(user)
    assert caller.subjects == {
        ada.id,
        user.token_id,
        user.family_id,
        ada.organization_id,
        membership_subject(ada.id, ada.organization_id),
    }
    assert user.subjects == caller.subjects | {
        changed_subject(ada.id),
        changed_subject(ada.organization_id),
    }
    key_id, secret = await issue_device_key(station, ada.organization_id)
    device = await station.authenticator.authenticate(secret)
    assert {key_id, DEVICE, ada.organization_id} < device.subjects
    assert caller_of(device).scope.device_ids == {DEVICE}
    assert caller.scope.device_ids is None


async def test_memory_is_bounded_and_drops_what_was_not_used_longest(url: str) -> None:
    async with open_station(url, principals_max=2) as station:
        ada = await station.register("ada@example.org")
        secrets = [(await issue_device_key(station, ada.organization_id))[1] for _ in range(3)]
        for secret in secrets[:2]:
            await station.authenticator.authenticate(secret)
        assert station.authenticator.cached(secrets[0]) is not None
        await station.authenticator.authenticate(secrets[2])
        known = [station.authenticator.cached(secret) is not None for secret in secrets]
        assert known == [True, False, True]
        station.authenticator.forget(DEVICE)
        assert [station.authenticator.cached(secret) for secret in secrets] == [None] * 3
        assert vars(station.authenticator)["_by_subject"] == {}


async def test_expired_token_is_dropped(station: Station, ada: Person) -> None:
    token = ada.tokens["access_token"]
    await station.authenticator.authenticate(token)
    assert isinstance(station.clock, ManualClock)
    station.clock.advance(1799)
    assert station.authenticator.cached(token) is not None
    station.clock.advance(1)
    assert station.authenticator.cached(token) is None
    with pytest.raises(Unauthenticated):
        await station.authenticator.authenticate(token)


@pytest.mark.parametrize("token", ["fsu_short", "fsd_" + "x" * 43, "fsu_" + "x" * 43, "fsd_\ud800"])
async def test_unknown_key_is_refused(station: Station, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await station.authenticator.authenticate(token)


async def test_revocation_while_loading_is_not_missed(station: Station, ada: Person) -> None:
    database = PausingDatabase(station.database)
    authenticator = Authenticator(
        database,  # type: ignore[arg-type]  # only its reading() is used
        station.clock,
        station.settings.auth,
        KeyRing(SECRET),
    )
    refused: list[bool] = []

    async def load() -> None:
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(ada.tokens["access_token"])
        refused.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load)
        with anyio.fail_after(10):
            while not database.have_read:
                await anyio.lowlevel.checkpoint()
        await ada.client.post("/api/v1/auth/logout")
        for subject in station.revoked:
            authenticator.forget(subject)
        database.go.set()
    assert refused == [True]
    assert authenticator.cached(ada.tokens["access_token"]) is None


async def test_rights_that_never_stand_still_are_busy(station: Station, ada: Person) -> None:
    class Restless:
        @asynccontextmanager
        async def reading(self) -> AsyncIterator[Session]:
            async with station.database.reading() as session:
                yield session
            authenticator.forget(ada.id)

    authenticator = Authenticator(
        Restless(),  # type: ignore[arg-type]  # only its reading() is used
        station.clock,
        station.settings.auth,
        KeyRing(SECRET),
    )
    with pytest.raises(Busy):
        await authenticator.authenticate(ada.tokens["access_token"])


async def test_caller_is_found_without_a_route(station: Station, ada: Person, eve: Person) -> None:
    async def caller(method: str = "GET", **headers: str) -> str | None:
        found = await caller_from_headers(
            Headers({name.replace("_", "-"): value for name, value in headers.items()}),
            authenticator=station.authenticator,
            settings=station.settings,
            method=method,
            peer="192.0.2.7",
        )
        assert found.actor.peer == "192.0.2.7"
        return found.user_id

    bearer = f"bearer {ada.tokens['access_token']}"
    cookie = f"theme=dark; session={eve.tokens['access_token']}"
    assert await caller(authorization=bearer) == ada.id
    assert await caller(cookie=cookie) == eve.id
    assert await caller(authorization=bearer, cookie=cookie) == ada.id
    assert await caller("POST", cookie=cookie, host="st", origin="http://st") == eve.id
    with pytest.raises(Forbidden):
        await caller("POST", cookie=cookie, host="st", origin="http://other")
    with pytest.raises(NotFound):
        await caller(authorization=bearer, x_organization=eve.organization_id)
    with pytest.raises(Unauthenticated):
        await caller(cookie="theme=dark")
