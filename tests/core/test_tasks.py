"""Background work goes on after defects and ends when it is cancelled."""

import asyncio
from contextlib import suppress

import pytest

from fieldstation.core.errors import Busy
from fieldstation.core.tasks import repeat
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


async def test_what_is_repeated_bears_a_database_that_is_away() -> None:
    calls: list[int] = []

    async def work() -> None:
        calls.append(1)
        raise Busy("away")

    async with asyncio.TaskGroup() as tasks:
        repeating = tasks.create_task(repeat(work, interval_s=0.001), name="repeat")
        await wait_until(lambda: len(calls) > 2)
        repeating.cancel()


async def test_work_that_swallows_its_cancellation_is_not_repeated() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        repeating = tasks.create_task(repeat(work, interval_s=0.001), name="repeat")
        await begun.wait()
        repeating.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([repeating])
    assert repeating.cancelled()
