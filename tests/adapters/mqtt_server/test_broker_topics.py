"""``$SYS``: the broker's state, of the own organization only, and nobody else's to publish."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest

from fieldstation import __version__
from fieldstation.core.clock import ManualClock
from tests.adapters.mqtt_server.raw_client import connected, publish_bytes
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.clients import StationClient
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until


@pytest.mark.anyio
async def test_a_subscriber_learns_the_state_at_once_and_then_regularly() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with (
        serving(MemoryStation(), clock=clock) as server,
        connected(server, "one") as client,
        connected(server, "foreign", username="bob@org-b") as foreign,
    ):
        await wait_until(lambda: server.counters.connections == 2)
        foreign.send(publish_bytes("a"), publish_bytes("b"))
        await foreign.ping()
        client.send(publish_bytes("a"))
        await client.ping()
        clock.advance(7)
        await client.subscribe(("$SYS/#", 1))
        got = [await client.read_message() for _ in range(5)]
        assert {message.topic: message.payload.decode() for message in got} == {
            "$SYS/broker/version": f"fieldstation {__version__}",
            "$SYS/broker/uptime": "7 seconds",
            "$SYS/broker/clients/connected": "1",
            "$SYS/broker/messages/received": "1",
            "$SYS/broker/messages/sent": "0",
        }
        assert {(message.qos, message.retain) for message in got} == {(0, True)}
        clock.advance(10)
        later = [await client.read_message() for _ in range(5)]
        assert later[1].payload == b"17 seconds"
        assert not later[1].retain


@pytest.mark.parametrize("version", [4, 5])
def test_nobody_publishes_the_state_of_the_broker(station: StationProcess, version: int) -> None:
    with StationClient(station.url) as owner:
        key = owner.sign_up().issue_user_key("telemetry:read", "telemetry:write")
        with MqttClient(station.mqtt_port, owner.email, key, version=version) as client:
            sent = client.send("$SYS/broker/version", "mine")
            if version == 4:
                client.wait_until_closed()
                with suppress(RuntimeError):  # what paho says if it was closed before it had sent
                    assert not sent.is_published()
            else:
                client.publish("a", "1")
                assert client.reasons == [0x87, 0]
