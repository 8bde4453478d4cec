"""Socket tickets: one use, by whoever brings them first."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from fieldstation.core.clock import ManualClock, SystemClock
from fieldstation.core.errors import Unauthenticated
from fieldstation.db.database import Database, Session
from fieldstation.domains.identity.access import Caller, redeem_ticket
from fieldstation.domains.identity.models import SocketTicket
from fieldstation.domains.identity.service.tickets import TICKETS_PER_CALLER_MAX
from tests.domains.identity.stations import (
    Person,
    Station,
    expect,
    make_tables,
    open_station,
)
from tests.domains.identity.test_keys import DEVICE, issue_device_key
from tests.domains.identity.test_revocation import (
    End,
    change_password,
    deactivate,
    degrade,
    log_out,
    remove,
    revoke_personal_key,
)
from tests.domains.identity.test_sessions import manual

pytestmark = pytest.mark.anyio
PATH = "/api/v1/auth/ws-ticket"


async def redeem(station: Station, ticket: str, *, database: Database | None = None) -> Caller:
    return await redeem_ticket(
        station.authenticator,
        database or station.database,
        ticket,
        clock=station.clock,
        peer="192.0.2.7",
    )


class InterruptedDatabase:
    """A database on which something else happens between a commit and its being told."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._database = database
        self._meanwhile = meanwhile

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        async with self._database.transaction() as session:
            yield session
        await self._meanwhile()


async def test_ticket_stands_for_its_caller_once(station: Station, ada: Person) -> None:
    answer = await ada.client.post(PATH)
    body = expect(answer, 200)
    assert body["expires_in"] == 30
    assert answer.headers["cache-control"] == "no-store"
    caller = await redeem(station, body["ticket"])
    seen = expect(await ada.client.get("/probe"), 200)
    assert sorted(caller.scopes) == seen["scopes"]
    assert (caller.user_id, caller.organization_id) == (ada.id, ada.organization_id)
    assert caller.actor.peer == "192.0.2.7"
    assert caller.role == "owner"
    assert caller.expires_at is not None
    assert {ada.id, f"{ada.id}:{ada.organization_id}"} < caller.subjects
    with pytest.raises(Unauthenticated):
        await redeem(station, body["ticket"])


async def test_of_many_who_bring_a_ticket_one_gets_in(station: Station, ada: Person) -> None:
    ticket = expect(await ada.client.post(PATH), 200)["ticket"]
    results: list[bool] = []

    async def enter() -> None:
        try:
            await redeem(station, ticket)
        except Unauthenticated:
            results.append(False)
        else:
            results.append(True)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(enter)
    assert sorted(results) == [False, False, False, False, True]


async def test_of_more_tickets_than_anybody_needs_the_oldest_is_void(
    station: Station, ada: Person
) -> None:
    vic = await station.hire(ada, "vic@example.org", "operator")
    _, key = await issue_device_key(station, ada.organization_id)
    others = [vic.client, station.client(key)]
    theirs = [expect(await client.post(PATH), 200)["ticket"] for client in others]
    tickets: list[str] = []
    for _ in range(TICKETS_PER_CALLER_MAX + 1):
        manual(station).advance(0.1)
        tickets.append(expect(await ada.client.post(PATH), 200)["ticket"])
    with pytest.raises(Unauthenticated):
        await redeem(station, tickets[0])
    for ticket in (*tickets[1:], *theirs):
        await redeem(station, ticket)


async def test_ticket_of_a_device_sees_only_the_device(station: Station, ada: Person) -> None:
    _, secret = await issue_device_key(station, ada.organization_id)
    ticket = expect(await station.client(secret).post(PATH), 200)["ticket"]
    caller = await redeem(station, ticket)
    assert caller.scope.organization_id == ada.organization_id
    assert caller.scope.device_ids == {DEVICE}
    assert (caller.actor.kind, caller.actor.id, caller.role) == ("device", DEVICE, None)


async def test_late_unknown_and_revoked_tickets_are_refused(station: Station, ada: Person) -> None:
    assert isinstance(station.clock, ManualClock)
    late = expect(await ada.client.post(PATH), 200)["ticket"]
    station.clock.advance(30)
    revoked = expect(await ada.client.post(PATH), 200)["ticket"]
    expect(await ada.client.post("/api/v1/auth/logout"), 204)
    for ticket in (late, revoked, "nonsense", ""):
        with pytest.raises(Unauthenticated):
            await redeem(station, ticket)


@pytest.mark.parametrize(
    ("end", "what"),
    [
        (revoke_personal_key, "key"),
        (deactivate, "key"),
        (deactivate, "session"),
        (degrade, "session"),
        (degrade, "key"),
        (remove, "key"),
        (log_out, "session"),
        (change_password, "session"),
    ],
)
async def test_ticket_of_a_node_that_had_not_heard_of_the_end_is_worth_nothing(
    postgresql_url: str, end: End, what: str
) -> None:
    await make_tables(postgresql_url)
    async with (
        open_station(postgresql_url, clock=SystemClock()) as here,
        open_station(postgresql_url, clock=SystemClock()) as there,
    ):
        ada = await here.register("ada@example.org")
        vic = await here.hire(ada, "vic@example.org", "operator")
        body = {"name": "script", "scopes": ["telemetry:read", "devices:write"]}
        key = expect(await vic.client.post("/api/v1/auth/api-keys", json=body), 201)["api_key"]
        client = there.client(key if what == "key" else vic.tokens["access_token"])
        expect(await client.get("/probe"), 200)
        await end(here, ada, vic)
        ticket = expect(await client.post(PATH), 200)["ticket"]
        for node in (here, there):
            with pytest.raises(Unauthenticated):
                await redeem(node, ticket)


async def test_ticket_is_good_after_an_earlier_change_of_the_role(
    station: Station, ada: Person
) -> None:
    vic = await station.hire(ada, "vic@example.org", "operator")
    for change in ({"role": "viewer"}, {"is_active": False}, {"is_active": True}):
        expect(await ada.client.patch(f"/api/v1/users/{vic.id}", json=change), 200)
    manual(station).advance(1)
    again = await station.enter(vic.email)
    ticket = expect(await again.client.post(PATH), 200)["ticket"]
    assert (await redeem(station, ticket)).role == "viewer"


async def test_ticket_whose_caller_ends_while_it_is_redeemed_is_refused(
    station: Station, ada: Person
) -> None:
    """No socket is there yet that the revocation could close."""
    ticket = expect(await ada.client.post(PATH), 200)["ticket"]
    interrupted = InterruptedDatabase(
        station.database, partial(ada.client.post, "/api/v1/auth/logout")
    )
    with pytest.raises(Unauthenticated):
        await redeem(
            station,
            ticket,
            database=interrupted,  # type: ignore[arg-type]  # only its transaction() is used
        )


async def test_ticket_ends_with_the_token_it_came_from(station: Station, ada: Person) -> None:
    assert isinstance(station.clock, ManualClock)
    station.clock.advance(1790)
    ticket = expect(await ada.client.post(PATH), 200)["ticket"]
    station.clock.advance(10)
    with pytest.raises(Unauthenticated):
        await redeem(station, ticket)


async def test_ticket_is_stored_as_a_digest(station: Station, ada: Person) -> None:
    ticket = expect(await ada.client.post(PATH), 200)["ticket"]
    async with station.database.reading() as session:
        (row,) = (await session.scalars(SocketTicket.__table__.select())).all()
    assert ticket not in str(row)
