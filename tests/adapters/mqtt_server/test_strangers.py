"""What is not authenticated yet is bounded, all of it together."""

import pytest

from fieldstation.adapters.mqtt_server.packets import Publish
from fieldstation.adapters.mqtt_server.strangers import Stranger, Strangers
from tests.adapters.mqtt_server.raw_client import (
    PINGREQ,
    connect_bytes,
    connected,
    raw_client,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

LARGE = Publish("gone", b"x" * 40_000, 0, 1)


def test_a_little_is_everybody_s_own_and_the_rest_is_shared() -> None:
    strangers = Strangers(bytes_max=100, own_bytes=10)
    one, two = Stranger(strangers), Stranger(strangers)
    assert one.hold(10)
    assert strangers.held == 0
    assert one.hold(90)
    assert strangers.held == 90
    assert two.hold(20)
    assert not two.hold(1)
    one.leave()
    one.leave()
    assert strangers.held == 10
    assert two.hold(90)
    two.leave()
    assert strangers.held == 0


async def test_unfinished_connects_keep_no_small_one_out() -> None:
    large = connect_bytes("large", will=LARGE)
    async with (
        serving(MemoryStation(), strangers_bytes_max=50_000) as server,
        raw_client(server) as greedy,
        raw_client(server) as late,
    ):
        greedy.send(large[:-1])
        await wait_until(lambda: server.counters.connections == 2)
        async with connected(server, "small") as small:
            await small.ping()
            late.send(large[:-1])
            assert await late.read_to_end() == b""
            assert server.counters.connections_refused == 1
        greedy.send(large[-1:], PINGREQ)
        assert await greedy.reader.readexactly(6) == b"\x20\x02\0\0\xd0\0"
        async with raw_client(server) as later:
            later.send(connect_bytes("later", will=LARGE))
            assert await later.reader.readexactly(4) == b"\x20\x02\0\0"


async def test_what_follows_an_unanswered_connect_is_read_no_further_than_its_bound() -> None:
    station = MemoryStation()
    station.doors_open.clear()
    async with (
        serving(station, strangers_bytes_max=20_000) as server,
        raw_client(server) as eager,
    ):
        eager.send(connect_bytes(), PINGREQ * 1_000)
        await wait_until(lambda: len(station.credentials) == 1)
        eager.send(PINGREQ * 30_000)
        assert await eager.read_to_end() == b""
        station.doors_open.set()
        await wait_until(lambda: server.counters.connections == 0)
