"""Socket tickets: one use, by whoever brings them first."""

import anyio
import pytest

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Unauthenticated
from fieldstation.domains.identity.access import redeem_ticket
from fieldstation.domains.identity.models import SocketTicket
from tests.domains.identity.stations import Person, Station, expect
from tests.domains.identity.test_keys import DEVICE, issue_device_key

pytestmark = pytest.mark.anyio
PATH = "/api/v1/auth/ws-ticket"


async def redeem(station: Station, ticket: str) -> object:
    return await redeem_ticket(station.database, ticket, clock=station.clock, peer="192.0.2.7")


async def test_ticket_stands_for_its_caller_once(station: Station, ada: Person) -> None:
    answer = await ada.client.post(PATH)
    body = expect(answer, 200)
    assert body["expires_in"] == 30
    assert answer.headers["cache-control"] == "no-store"
    caller = await redeem_ticket(
        station.database, body["ticket"], clock=station.clock, peer="192.0.2.7"
    )
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


async def test_ticket_of_a_device_sees_only_the_device(station: Station, ada: Person) -> None:
    _, secret = await issue_device_key(station, ada.organization_id)
    ticket = expect(await station.client(secret).post(PATH), 200)["ticket"]
    caller = await redeem_ticket(station.database, ticket, clock=station.clock)
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
