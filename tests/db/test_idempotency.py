"""Keys are claimed once, keep their result for a day, and go away."""

import asyncio

import pytest
from sqlalchemy import func, select

from fieldstation.core.clock import ManualClock
from fieldstation.db.database import Database
from fieldstation.db.idempotency import First, IdempotencyKey, IdempotencyKeys

pytestmark = pytest.mark.anyio

DIGEST, BODY = "d" * 64, "b" * 64


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> IdempotencyKeys:
    return IdempotencyKeys(database, clock)


async def test_only_the_first_of_many_claims_counts(keys: IdempotencyKeys) -> None:
    found = await asyncio.gather(*(keys.claim(DIGEST, BODY) for _ in range(5)))
    assert found.count(None) == 1
    assert [first for first in found if first is not None] == [First(BODY, None, None)] * 4


async def test_a_result_is_kept_for_a_day(keys: IdempotencyKeys, clock: ManualClock) -> None:
    assert await keys.claim(DIGEST, BODY) is None
    await keys.keep(DIGEST, status=201, body=b"{}")
    clock.advance((24 * 60 - 1) * 60)
    assert await keys.claim(DIGEST, "other") == First(BODY, 201, b"{}")
    clock.advance(60)
    assert await keys.claim(DIGEST, "other") is None


async def test_a_key_that_is_given_back_can_be_claimed_again(keys: IdempotencyKeys) -> None:
    assert await keys.claim(DIGEST, BODY) is None
    await keys.give_back(DIGEST)
    assert await keys.look(DIGEST) is None
    assert await keys.claim(DIGEST, BODY) is None


async def test_the_purge_deletes_what_is_over_and_nothing_else(
    keys: IdempotencyKeys, database: Database, clock: ManualClock
) -> None:
    await keys.claim(DIGEST, BODY)
    clock.advance(12 * 3600)
    await keys.claim("e" * 64, BODY)
    clock.advance(12 * 3600)
    await keys.purge()
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(IdempotencyKey)) == 1
    assert await keys.look("e" * 64) == First(BODY, None, None)
