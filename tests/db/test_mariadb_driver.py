"""A connection to MariaDB waits only so long, and a cancelled task always ends."""

import asyncio
import time

import asyncmy.errors
import pytest
from sqlalchemy.engine import make_url

from fieldstation.db.mariadb import connect_arguments
from fieldstation.db.mariadb_driver import connect

pytestmark = pytest.mark.anyio

CANCELLATIONS = 150
HELD_UP_S = 0.001


def hold_up_the_loop() -> None:
    """Let the answer arrive while nobody looks."""
    ends_at = time.perf_counter() + HELD_UP_S
    while time.perf_counter() < ends_at:
        pass


async def test_an_answer_that_does_not_come_in_time_ends_the_connection(
    own_mariadb_url: str,
) -> None:
    arguments = connect_arguments(make_url(own_mariadb_url))
    connection = await connect(**arguments, answer_timeout_s=0.2)
    with pytest.raises(asyncmy.errors.OperationalError, match="no answer within"):
        await connection.query("SELECT SLEEP(2)")
    assert not connection.connected


async def test_no_cancellation_is_lost_though_the_answer_comes_with_it(
    own_mariadb_url: str,
) -> None:
    """The loop is held up until both are there: whichever is seen first, the task ends."""
    arguments = connect_arguments(make_url(own_mariadb_url))

    async def ask_forever(asked: asyncio.Event) -> None:
        connection = await connect(**arguments, answer_timeout_s=5)
        try:
            while True:
                asked.set()
                await connection.query("DO 1")
        finally:
            connection.close()

    for number in range(CANCELLATIONS):
        asked = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(ask_forever(asked), name="asking")
            await asked.wait()
            for _ in range(number % 7):
                await asyncio.sleep(0)
            hold_up_the_loop()
            await asyncio.sleep(0)
            asking.cancel()
            _, pending = await asyncio.wait([asking], timeout=2)
            asking.cancel()  # if it was lost: the group waits for the task
            assert not pending, "the cancellation was lost"
