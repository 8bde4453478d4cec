"""Ownership of MQTT sessions: one node at a time, and nothing of a former one lands late."""

from datetime import UTC, datetime

import pytest

from fieldstation.core.clock import ManualClock
from fieldstation.db.database import Database
from fieldstation.domains.messaging import ownership, service
from fieldstation.domains.messaging.schemas import (
    Change,
    Handover,
    MessageState,
    QueuedMessage,
    SessionEnded,
    SessionState,
    SubscriptionState,
)

pytestmark = pytest.mark.anyio

KEY = ("org", "client")
NOW_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000


async def take(
    database: Database, node_id: str, *, held: int | None = None, now_us: int = NOW_US
) -> tuple[int, str | None]:
    async with database.transaction() as session:
        return await ownership.take(
            session,
            organization_id=KEY[0],
            client_id=KEY[1],
            node_id=node_id,
            held_epoch=held,
            fresh=False,
            now_us=now_us,
        )


async def save(database: Database, node_id: str, *changes: Change) -> None:
    async with database.transaction() as session:
        await service.save(session, changes, node_id=node_id, fenced=True)


async def settle_in(database: Database, epoch: int) -> tuple[bool, object]:
    async with database.transaction() as session:
        return await ownership.settle_in(session, *KEY, epoch=epoch)


def state(epoch: int, *, left_us: int = 0) -> SessionState:
    return SessionState(*KEY, "me", 3_600, left_us, epoch, NOW_US)


def message(epoch: int, packet_id: int, payload: bytes) -> MessageState:
    queued = QueuedMessage(1, "a", payload, 1, False, b"", 0, False)
    return MessageState(*KEY, packet_id, queued, epoch)


async def payloads(database: Database) -> dict[int, bytes]:
    async with database.transaction() as session:
        kept = await service.load_session(session, *KEY)
    return {} if kept is None else {number: each.payload for number, each in kept.messages}


async def test_a_node_goes_on_with_what_it_holds_and_raises_the_epoch_otherwise(
    own_database: Database,
) -> None:
    epoch, former = await take(own_database, "a")
    assert (epoch, former) == (NOW_US, None)
    assert await take(own_database, "a", held=epoch) == (epoch, None)
    assert await take(own_database, "a") == (epoch + 1, None)
    assert await take(own_database, "b", held=epoch + 1) == (epoch + 2, "a")


async def test_a_former_owner_may_save_until_the_new_one_has_loaded(
    own_database: Database,
) -> None:
    first, _ = await take(own_database, "a")
    await save(own_database, "a", state(first), message(first, 1, b"before"))
    second, _ = await take(own_database, "b")
    await save(own_database, "a", message(first, 2, b"while it is handed over"))
    is_ours, kept = await settle_in(own_database, second)
    assert is_ours
    assert kept is not None
    await save(own_database, "a", message(first, 3, b"late"), SessionEnded(*KEY, first))
    await save(own_database, "b", state(second), message(second, 3, b"of the new owner"))
    assert await payloads(own_database) == {
        1: b"before",
        2: b"while it is handed over",
        3: b"of the new owner",
    }


async def test_what_a_former_owner_ends_is_nothing_to_go_on_with(own_database: Database) -> None:
    first, _ = await take(own_database, "a")
    await save(own_database, "a", state(first), SubscriptionState(*KEY, "a", 1, 0, first))
    second, _ = await take(own_database, "b")
    await save(own_database, "a", SessionEnded(*KEY, first))
    async with own_database.transaction() as session:
        _, kept = await ownership.settle_in(session, *KEY, epoch=second)
    assert kept is not None
    assert (kept.state.expiry_s, kept.subscriptions) == (0, ())


async def test_a_third_node_that_takes_it_wins(own_database: Database) -> None:
    first, _ = await take(own_database, "a")
    await save(own_database, "a", state(first))
    second, _ = await take(own_database, "b")
    third, former = await take(own_database, "c")
    assert former == "b"
    assert await settle_in(own_database, second) == (False, None)
    assert (await settle_in(own_database, third))[0]
    async with own_database.reading() as session:
        asked_of_a = await ownership.wanted_from(session, "a")
        asked_of_b = await ownership.wanted_from(session, "b")
    assert asked_of_a == [Handover(*KEY, second, fresh=False)]
    assert asked_of_b == [Handover(*KEY, third, fresh=False)]


async def test_a_session_that_was_ended_and_made_anew_has_another_epoch(
    own_database: Database,
) -> None:
    first, _ = await take(own_database, "a")
    await save(own_database, "a", state(first), SessionEnded(*KEY, first))
    second, _ = await take(own_database, "a", now_us=NOW_US + 1)
    await save(own_database, "a", state(second), message(first, 1, b"of the old one"))
    assert await payloads(own_database) == {}


async def test_a_node_loads_its_own_sessions_and_those_of_nobody(own_database: Database) -> None:
    await take(own_database, "a")
    async with own_database.transaction() as session:
        assert await service.load_sessions(session, node_id="b", everything=False) == []
        (kept,) = await service.load_sessions(session, node_id="a", everything=False)
        assert (kept.state.organization_id, kept.state.client_id) == KEY
        assert len(await service.load_sessions(session, node_id="b")) == 1


async def test_sessions_of_nodes_that_are_gone_expire_and_those_of_others_do_not(
    own_database: Database,
) -> None:
    clock = ManualClock(datetime(2027, 1, 1, tzinfo=UTC))

    async def purge() -> int:
        async with own_database.transaction() as session:
            return await ownership.purge(session, clock)

    async def see(node_id: str) -> None:
        async with own_database.transaction() as session:
            await ownership.note_seen(session, node_id, clock.now_us())

    epoch, _ = await take(own_database, "a", now_us=clock.now_us())
    await save(own_database, "a", state(epoch))
    await see("a")
    assert await purge() == 0
    clock.advance(2 * 3_600)
    await see("a")
    assert await purge() == 0
    clock.advance(120)
    assert await purge() == 0
    clock.advance(3_600)
    assert await purge() == 1


async def test_the_former_owner_is_told(own_database: Database) -> None:
    async with own_database.transaction() as session:
        await ownership.note_seen(session, "a", NOW_US)
    await take(own_database, "a")
    epoch, former = await take(own_database, "b")
    assert former == "a"
    handover = Handover(*KEY, epoch, fresh=False)
    async with own_database.transaction() as session:
        assert await ownership.is_there(session, "a", now_us=NOW_US + 1_000_000)
        assert not await ownership.is_there(session, "a", now_us=NOW_US + HOUR_US)
        assert not await ownership.is_handed_over(session, "a", handover)
        await ownership.hand_over(session, "a", [handover])
        assert await ownership.is_handed_over(session, "a", handover)
