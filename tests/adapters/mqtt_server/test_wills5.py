"""Last wills of MQTT 5: reason codes of DISCONNECT, delays, and keys that end meanwhile."""

from datetime import UTC, datetime

import pytest

from fieldstation.adapters.mqtt_server.packets import Reason
from fieldstation.core.clock import ManualClock
from tests.adapters.mqtt_server.raw_client import connected
from tests.adapters.mqtt_server.raw_client5 import (
    Properties,
    connected5,
    disconnect5,
    read_goodbye,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

WILL: tuple[str, bytes, int, Properties] = ("gone", b"bye", 1, {})
DELAYED: tuple[str, bytes, int, Properties] = ("gone", b"bye", 1, {0x18: 10})
KEPT: Properties = {0x11: 3_600}


@pytest.mark.parametrize(
    "code", [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]
)
async def test_only_a_normal_disconnect_voids_the_will(code: int) -> None:
    station = MemoryStation()
    async with serving(station) as server:
        async with connected5(server, will=WILL) as client:
            client.send(disconnect5(code))
            assert await client.read_to_end() == b""
        assert station.passed == [("gone", b"bye")]
        async with connected5(server, will=WILL) as client:
            client.send(disconnect5(0))
            assert await client.read_to_end() == b""
        assert len(station.passed) == 1


@pytest.mark.parametrize("code", [0x01, 0x87, 0x8B, 0x8E, 0xFF])
async def test_a_disconnect_with_a_code_that_is_no_client_s_is_a_violation(code: int) -> None:
    station = MemoryStation()
    async with serving(station) as server, connected5(server, will=WILL) as client:
        client.send(disconnect5(code))
        assert await read_goodbye(client) == Reason.PROTOCOL_ERROR
        assert station.passed == [("gone", b"bye")]


@pytest.mark.parametrize("subject", ["key-of-d1", "d1"])
@pytest.mark.parametrize("revoked_while_connected", [False, True])
async def test_a_delayed_will_ends_with_its_key(
    subject: str, revoked_while_connected: bool
) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    station = MemoryStation()
    will: tuple[str, bytes, int, Properties] = ("devices/d1/readings", b"0", 1, {0x18: 10})
    async with (
        serving(station, clock=clock) as server,
        connected(server, "other", username="bob"),
        connected5(server, "bob", username="bob", properties=KEPT, will=DELAYED) as other,
        connected5(server, username="device:d1", properties=KEPT, will=will) as client,
    ):
        other.writer.transport.abort()
        if not revoked_while_connected:
            client.writer.transport.abort()
        await wait_until(lambda: server.counters.connections == 1 + revoked_while_connected)
        server.revoke(subject)
        clock.advance(11)
        await wait_until(lambda: server.counters.wills_published == 1)
        assert station.passed == [("gone", b"bye")]
        assert station.taken == []
        assert server.counters.wills_dropped == (subject != "d1" or not revoked_while_connected)
