"""A live socket that is not read delays nobody who reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.rounds import refuse_slower
from tests.faults.slow_sockets import (
    LARGE_READINGS,
    listening,
    scene,
    station_with,
    take,
    take_until,
)

pytestmark = pytest.mark.anyio

FILLING_POSTS = 10


async def test_a_slow_socket_delays_nobody_and_is_told_of_its_gap(tmp_path: Path) -> None:
    with station_with(tmp_path) as station:
        async with scene(station) as found, listening(found) as listener:

            @asynccontextmanager
            async def slow_socket() -> AsyncIterator[None]:
                async with found.lazy_socket() as lazy:
                    await found.send_much(FILLING_POSTS)
                    await take(listener, FILLING_POSTS * LARGE_READINGS)
                    yield
                    assert (await take_until(lazy, "gap"))["dropped"] > 0

            await refuse_slower(lambda: found.measure(listener), slow_socket)
