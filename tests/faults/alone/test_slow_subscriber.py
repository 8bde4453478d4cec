"""An MQTT subscriber that does not read delays nobody and costs no memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.adapters.mqtt_server.raw_client import subscribe_bytes
from tests.adapters.mqtt_server.raw_client5 import subscribe5
from tests.faults.connections import memory_bytes, open_connections
from tests.faults.rounds import ROUNDS, refuse_slower
from tests.faults.slow_subscribers import FILLING_BATCHES, scene
from tests.station_process import StationProcess
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

BATCHES = 30
GROWTH_BYTES_MAX = 16 << 20
"""Far less than what is published beside the slow subscriber."""


@pytest.mark.parametrize("kept", [False, True], ids=["3.1.1-qos-0", "5-kept-qos-1"])
async def test_a_slow_subscriber_delays_nobody_and_costs_no_memory(
    own_station: StationProcess, kept: bool
) -> None:
    async with scene(own_station) as (found, publisher, ear):

        async def measure() -> list[float]:
            return [await found.publish(publisher, ear) for _ in range(BATCHES)]

        @asynccontextmanager
        async def slow_subscriber() -> AsyncIterator[None]:
            async with found.lazy_client(kept=kept) as lazy:
                lazy.send(subscribe5(("load/#", 1)) if kept else subscribe_bytes(("load/#", 0)))
                for _ in range(FILLING_BATCHES):
                    await found.publish(publisher, ear)
                yield

        async with slow_subscriber():
            before = memory_bytes(own_station)
        await refuse_slower(measure, slow_subscriber)
        assert memory_bytes(own_station) - before < GROWTH_BYTES_MAX
        assert found.counted("slow_closed" if kept else "dropped_slow") > ROUNDS
        await wait_until(lambda: open_connections(own_station, own_station.mqtt_port) == 2)
