"""A message is handled at least once, later if need be, and given up only after its last try."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Busy
from fieldstation.db.database import Database
from fieldstation.db.outbox import (
    ATTEMPTS_MAX,
    LEASE_S,
    MESSAGES_PER_TURN_MAX,
    Handler,
    OutboxMessage,
    OutboxRelay,
    put,
)
from tests.db.conftest import START

pytestmark = pytest.mark.anyio


class Received(list[dict[str, Any]]):
    """Payloads a handler got; fails as often as told."""

    def __init__(self, *, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures

    async def handle(self, payload: dict[str, Any]) -> None:
        self.append(payload)
        if self.failures:
            self.failures -= 1
            raise Busy("not now")


def relay(database: Database, clock: ManualClock, handler: Handler) -> OutboxRelay:
    return OutboxRelay(database, clock, {"purge": handler})


async def keep(database: Database, *payloads: dict[str, Any], topic: str = "purge") -> None:
    async with database.transaction() as session:
        for payload in payloads:
            put(session, topic, payload=payload, now=START)


async def kept(database: Database) -> list[OutboxMessage]:
    async with database.reading() as session:
        rows = await session.scalars(select(OutboxMessage).order_by(OutboxMessage.id))
        return list(rows)


async def test_a_message_is_handled_in_order_and_gone(
    database: Database, clock: ManualClock
) -> None:
    received = Received()
    await keep(database, {"n": 1}, {"n": 2})
    assert await relay(database, clock, received.handle).deliver_due() == 2
    assert received == [{"n": 1}, {"n": 2}]
    assert await kept(database) == []


async def test_a_message_of_a_transaction_that_failed_is_never_handled(
    database: Database, clock: ManualClock
) -> None:
    received = Received()

    async def fail() -> None:
        async with database.transaction() as session:
            put(session, "purge", payload={}, now=START)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await relay(database, clock, received.handle).deliver_due() == 0


async def test_each_failure_waits_twice_as_long(database: Database, clock: ManualClock) -> None:
    received = Received(failures=3)
    await keep(database, {})
    outbox = relay(database, clock, received.handle)
    waits = []
    while messages := await kept(database):
        due_at = messages[0].due_at
        assert due_at is not None
        waits.append((due_at - clock.now()).total_seconds())
        clock.advance(max(waits[-1] - 0.001, 0))
        handled = await outbox.deliver_due()
        assert handled == (0 if waits[-1] else 1)
        if not handled:
            clock.advance(0.001)
            await outbox.deliver_due()
    assert waits == [0, 2, 4, 8]
    assert len(received) == 4


async def test_a_message_is_given_up_after_its_last_try(
    database: Database, clock: ManualClock
) -> None:
    received = Received(failures=1_000)
    await keep(database, {})
    outbox = relay(database, clock, received.handle)
    for _ in range(ATTEMPTS_MAX + 5):
        await outbox.deliver_due()
        clock.advance(86_400)
    assert len(received) == ATTEMPTS_MAX
    (dead,) = await kept(database)
    assert dead.due_at is None
    assert dead.attempts == ATTEMPTS_MAX
    assert dead.last_error == "not now"


async def test_a_message_whose_handler_nobody_registered_is_kept(
    database: Database, clock: ManualClock
) -> None:
    await keep(database, {}, topic="of the future")
    await relay(database, clock, Received().handle).deliver_due()
    (waiting,) = await kept(database)
    assert (waiting.last_error or "").startswith("No handler is registered")
    assert waiting.due_at == START + timedelta(seconds=2)


async def test_a_crash_after_the_work_and_before_the_end_repeats_the_work(
    database: Database, clock: ManualClock
) -> None:
    received = Received()

    class PowerCut(BaseException):
        pass

    async def handle_then_die(payload: dict[str, Any]) -> None:
        await received.handle(payload)
        raise PowerCut

    await keep(database, {"n": 1})
    with pytest.raises(PowerCut):
        await relay(database, clock, handle_then_die).deliver_due()
    heir = relay(database, clock, received.handle)
    clock.advance(LEASE_S - 1)
    assert await heir.deliver_due() == 0
    clock.advance(1)
    assert await heir.deliver_due() == 1
    assert received == [{"n": 1}, {"n": 1}]
    assert await kept(database) == []


async def test_a_message_that_kills_the_process_each_time_is_given_up_too(
    database: Database, clock: ManualClock
) -> None:
    class PowerCut(BaseException):
        pass

    deaths = 0

    async def die(_payload: dict[str, Any]) -> None:
        nonlocal deaths
        deaths += 1
        raise PowerCut

    await keep(database, {})
    for _ in range(ATTEMPTS_MAX + 5):
        try:
            await relay(database, clock, die).deliver_due()
        except PowerCut:
            clock.advance(LEASE_S)
    assert deaths == ATTEMPTS_MAX


async def test_two_nodes_share_the_messages(database: Database, clock: ManualClock) -> None:
    first, second = Received(), Received()
    await keep(database, *({"n": n} for n in range(5)))
    both = [relay(database, clock, first.handle), relay(database, clock, second.handle)]
    assert await both[0].deliver_due() + await both[1].deliver_due() == 5
    assert sorted(p["n"] for p in (*first, *second)) == [0, 1, 2, 3, 4]


async def test_one_turn_is_bounded(database: Database, clock: ManualClock) -> None:
    received = Received()
    await keep(database, *({"n": n} for n in range(MESSAGES_PER_TURN_MAX + 3)))
    outbox = relay(database, clock, received.handle)
    assert await outbox.deliver_due() == MESSAGES_PER_TURN_MAX
    assert await outbox.deliver_due() == 3
    assert len(received) == MESSAGES_PER_TURN_MAX + 3
