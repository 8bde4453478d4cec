"""An MQTT subscriber that does not read keeps what it may, and no connection."""

import pytest

from tests.adapters.mqtt_server.raw_client import PUBACK
from tests.adapters.mqtt_server.raw_client5 import acknowledge, read_message5, subscribe_5
from tests.faults.connections import open_connections
from tests.faults.slow_subscribers import FILLING_BATCHES, scene
from tests.station_process import StationProcess
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

LARGE_PAYLOAD_BYTES = 60_000
"""The hundred messages that may be on their way fill every buffer."""
KEPT_MIN = 100
GONE_S_MAX = 5.0


async def test_a_kept_session_that_was_too_slow_gets_the_newest_messages_when_it_returns(
    own_station: StationProcess,
) -> None:
    async with scene(own_station) as (found, publisher, ear):
        async with found.lazy_client(kept=True) as lazy:
            await subscribe_5(lazy, ("load/#", 1))
            for _ in range(FILLING_BATCHES):
                await found.publish(publisher, ear)
            await wait_until(lambda: open_connections(own_station, own_station.mqtt_port) == 2)
        async with found.lazy_client(kept=True) as again:
            numbers: list[int] = []
            while numbers[-1:] != [found.published - 1]:
                message = read_message5(await again.read())
                again.send(acknowledge(PUBACK, message.packet_id))
                numbers.append(int(message.payload[:9]))
    assert numbers == sorted(set(numbers))
    assert len(numbers) < found.published
    assert numbers[-KEPT_MIN:] == list(range(found.published - KEPT_MIN, found.published))


async def test_a_slow_subscriber_over_websocket_holds_no_connection(
    own_station: StationProcess,
) -> None:
    async with scene(own_station) as (found, publisher, ear):
        found.payload_bytes = LARGE_PAYLOAD_BYTES
        await wait_until(lambda: open_connections(own_station, own_station.port) == 0)
        async with found.lazy_websocket():
            assert open_connections(own_station, own_station.port) == 1
            for _ in range(FILLING_BATCHES):
                await found.publish(publisher, ear)
            assert found.counted("slow_closed") == 1
            await wait_until(
                lambda: open_connections(own_station, own_station.port) == 0, timeout_s=GONE_S_MAX
            )
