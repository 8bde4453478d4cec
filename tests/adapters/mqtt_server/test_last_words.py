"""How a connection ends: its client reads why, whatever it was just sending, and gets no more time
than it needs."""

from datetime import UTC, datetime

import pytest

from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.packets import Reason
from fieldstation.core.clock import ManualClock
from tests.adapters.mqtt_server.raw_client5 import connected5, publish5, read_goodbye
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

LIMITS = PacketLimits(packet_bytes_max=1_000)
TOO_LARGE = publish5("a", b"x" * 2_000)


async def test_a_client_that_goes_on_sending_reads_why_it_was_refused() -> None:
    async with (
        serving(MemoryStation(), packets=LIMITS) as server,
        connected5(server) as client,
    ):
        client.send(TOO_LARGE)
        await wait_until(lambda: server.counters.protocol_errors == 1)
        for _ in range(64):
            client.send(b"x" * 65_536)
            await client.writer.drain()
        assert await read_goodbye(client) == Reason.PACKET_TOO_LARGE


async def test_a_client_that_does_not_end_its_side_is_cut_off() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with (
        serving(MemoryStation(), clock=clock, packets=LIMITS, close_linger_s=3) as server,
        connected5(server) as client,
    ):
        client.send(TOO_LARGE)
        assert await read_goodbye(client) == Reason.PACKET_TOO_LARGE
        clock.advance(2.9)
        client.send(b"still here")
        await client.writer.drain()
        assert server.counters.connections == 1
        clock.advance(0.2)
        await wait_until(lambda: server.counters.connections == 0)
