"""A live socket that is not read costs no memory, and is got rid of in the end."""

import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.faults.connections import memory_bytes, open_connections
from tests.faults.slow_sockets import listening, scene, station_with, take_until
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

DEAF_SOCKETS = 3
GROWTH_BYTES_MAX = 8 << 20
"""Without bounds the station would hold more than that for the deaf sockets."""
SLOW_S = 3.0
GONE_S_MAX = 8.0
STOP_S_MAX = 6.0


async def test_slow_sockets_cost_no_memory(tmp_path: Path) -> None:
    with station_with(tmp_path) as station:
        async with scene(station) as found, AsyncExitStack() as deaf:
            await found.send_much()
            at_first = memory_bytes(station)
            await found.send_much()
            stored = memory_bytes(station) - at_first
            for _ in range(DEAF_SOCKETS):
                await deaf.enter_async_context(found.lazy_socket())
            before = memory_bytes(station)
            await found.send_much()
            grown = memory_bytes(station) - before
            assert found.sockets() == DEAF_SOCKETS
            assert grown - stored < GROWTH_BYTES_MAX, (stored, grown)


async def test_a_socket_that_stays_slow_is_closed_with_1013_and_its_connection_ends(
    tmp_path: Path,
) -> None:
    with station_with(tmp_path, WS_SLOW_TIMEOUT_S=str(SLOW_S)) as station:
        async with (
            scene(station) as found,
            listening(found) as listener,
            found.lazy_socket() as late,
            found.lazy_socket(),
        ):
            before = open_connections(station, station.port)
            await found.send_much()
            assert (await take_until(late, "gap"))["dropped"] > 0
            await found.send_much()
            await wait_until(lambda: found.sockets() == 1, timeout_s=GONE_S_MAX)
            with pytest.raises(ConnectionClosed) as closed:
                await take_until(late, "nothing that is ever sent")
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "too slow")
            await wait_until(
                lambda: open_connections(station, station.port) == before - 2, timeout_s=GONE_S_MAX
            )
            await listener.send('{"type": "ping"}')
            await take_until(listener, "pong")


async def test_a_stop_does_not_wait_for_those_who_do_not_read(tmp_path: Path) -> None:
    with station_with(tmp_path) as station:
        async with scene(station) as found, found.lazy_socket(), found.lazy_socket():
            await found.send_much()
            began = time.monotonic()
            assert station.stop() == 0
            assert time.monotonic() - began < STOP_S_MAX
