"""Last wills: published when a connection ends badly, and only then."""

from datetime import UTC, datetime

import pytest

from fieldstation.adapters.mqtt_server.packets import ConnectCode, Publish
from fieldstation.adapters.mqtt_server.ports import Verdict
from fieldstation.adapters.mqtt_server.server import MqttServer
from fieldstation.core.clock import ManualClock
from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    DISCONNECT,
    connect_bytes,
    connected,
    publish_bytes,
    raw_client,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

WILL = Publish("gone/c1", b"bye", 0, 1)


async def silence(clock: ManualClock, server: MqttServer, *, timeouts: int) -> None:
    """Let seconds pass until the server has closed so many connections for their silence."""

    def closed_after_another_second() -> bool:
        clock.advance(1.0)
        return server.counters.timeouts == timeouts

    await wait_until(closed_after_another_second)


async def test_a_connection_that_breaks_publishes_its_will() -> None:
    async with serving(MemoryStation()) as server, connected(server, "watch") as watcher:
        await watcher.subscribe(("gone/#", 1))
        async with connected(server, will=WILL) as client:
            client.writer.transport.abort()
            assert await watcher.read_message() == Publish("gone/c1", b"bye", 1, 1)
        assert server.counters.wills_published == 1


async def test_a_client_that_says_good_bye_leaves_no_will() -> None:
    async with serving(MemoryStation()) as server, connected(server, "watch") as watcher:
        await watcher.subscribe(("gone/#", 1))
        async with connected(server, will=WILL) as client:
            client.send(DISCONNECT)
            assert await client.read_to_end() == b""
        await watcher.ping()
        assert server.counters.wills_published == 0


@pytest.mark.parametrize("frame", [b"\xf0\x00", publish_bytes("a", packet_id=1, qos=3)])
async def test_a_violation_publishes_the_will(frame: bytes) -> None:
    station = MemoryStation()
    async with serving(station) as server, connected(server, will=WILL) as client:
        client.send(frame)
        assert await client.read_to_end() == b""
        assert station.passed == [("gone/c1", b"bye")]


async def test_silence_beyond_the_keep_alive_publishes_the_will() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    station = MemoryStation()
    async with (
        serving(station, clock=clock) as server,
        connected(server, will=WILL, keep_alive_s=10) as client,
    ):
        clock.advance(14.9)
        await client.ping()
        clock.advance(14.9)
        await client.ping()
        assert station.passed == []
        await silence(clock, server, timeouts=1)
        assert await client.read_to_end() == b""
        assert station.passed == [("gone/c1", b"bye")]


async def test_no_time_out_while_the_station_itself_does_not_read() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    station = MemoryStation(room=0)
    async with (
        serving(station, clock=clock) as server,
        connected(server, "idle", keep_alive_s=10) as idle,
        connected(server, will=WILL, keep_alive_s=10) as client,
    ):
        client.send(publish_bytes("x/readings", packet_id=1))
        await wait_until(lambda: station.waiting_for_room == 1)
        await silence(clock, server, timeouts=1)
        clock.advance(60)
        assert await idle.read_to_end() == b""
        station.room = 10
        station.wake()
        assert await client.read_pubacks(1) == [1]
        await client.ping()
        assert server.counters.timeouts == 1


async def test_without_keep_alive_silence_is_fine() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    station = MemoryStation()
    async with (
        serving(station, clock=clock) as server,
        connected(server) as quiet,
        connected(server, "c2", keep_alive_s=1) as other,
    ):
        await silence(clock, server, timeouts=1)
        clock.advance(100_000)
        assert await other.read_to_end() == b""
        await quiet.ping()


async def test_a_revoked_key_publishes_the_will() -> None:
    station = MemoryStation()
    async with serving(station) as server, connected(server, will=WILL) as client:
        assert server.revoke("key-of-ann") == 1
        assert await client.read_to_end() == b""
        assert station.passed == [("gone/c1", b"bye")]


async def test_whoever_is_gone_altogether_leaves_no_will() -> None:
    station = MemoryStation()
    will = Publish("devices/d1/readings", b"0", 0, 1)
    async with (
        serving(station) as server,
        connected(server, username="device:d1", will=will) as client,
    ):
        assert server.revoke("d1") == 1
        assert await client.read_to_end() == b""
        assert station.taken == []
        assert server.counters.wills_published == 0


async def test_a_will_that_waits_for_room_is_dropped_with_its_key() -> None:
    station = MemoryStation(room=0)
    async with serving(station) as server:
        for name in ("ann", "bob"):
            will = Publish("x/readings", name.encode(), 0, 1)
            async with connected(server, name, username=name, will=will):
                pass
        await wait_until(lambda: server.counters.connections == 0)
        server.revoke("key-of-ann")
        station.room = 10
        station.wake()
        assert station.taken == [("x/readings", b"bob")]
        assert server.counters.wills_dropped == 1


async def test_a_takeover_publishes_the_will_of_the_old_connection() -> None:
    station = MemoryStation()
    async with serving(station) as server, connected(server, will=WILL), connected(server) as new:
        await new.ping()
        assert station.passed == [("gone/c1", b"bye")]


async def test_a_will_can_be_retained_and_of_qos_2() -> None:
    will = Publish("gone/c1", b"bye", 0, 2, retain=True)
    station = MemoryStation()
    async with serving(station) as server:
        async with connected(server, will=will):
            pass
        await wait_until(lambda: len(station.retained) == 1)
        async with connected(server, "later") as client:
            await client.subscribe(("gone/+", 1))
            assert await client.read_message() == Publish("gone/c1", b"bye", 1, 1, retain=True)


async def test_a_will_to_a_foreign_topic_is_refused_at_connect() -> None:
    station = MemoryStation()
    async with serving(station) as server, raw_client(server) as client:
        client.send(connect_bytes(username="device:d1", will=WILL))
        answer = await client.read_to_end()
        assert answer == bytes((CONNACK, 2, 0, ConnectCode.NOT_AUTHORIZED))
        assert station.passed == []


async def test_a_will_that_is_a_reading_is_committed_before_anybody_sees_it() -> None:
    station = MemoryStation(commits_itself=False)
    will = Publish("x/readings", b"0", 0, 1)
    async with serving(station) as server, connected(server, "watch") as watcher:
        await watcher.subscribe(("#", 0))
        async with connected(server, will=will) as client:
            client.send(publish_bytes("x/readings", b"1", packet_id=1))
        await wait_until(lambda: station.unsettled == 2)
        await watcher.ping()
        station.commit()
        assert [(await watcher.read_message()).payload for _ in range(2)] == [b"1", b"0"]


async def test_wills_wait_for_room_in_the_intake_and_only_so_many() -> None:
    station = MemoryStation(room=0)
    async with serving(station, wills_waiting_max=2) as server:
        for name in ("c1", "c2", "c3"):
            async with connected(server, name, will=Publish("x/readings", name.encode(), 0, 1)):
                pass
            await wait_until(lambda: server.counters.connections == 0)
        assert server.counters.wills_dropped == 1
        station.wake()
        assert station.taken == []
        station.room = 10
        station.wake()
        assert [payload for _, payload in station.taken] == [b"c1", b"c2"]


async def test_a_will_that_nests_too_deep_reaches_nobody() -> None:
    station = MemoryStation()
    station.verdicts[b"deep"] = Verdict.TOO_LARGE
    async with serving(station) as server, connected(server, "watch") as watcher:
        await watcher.subscribe(("#", 0))
        async with connected(server, will=Publish("x/readings", b"deep", 0, 1)):
            pass
        await wait_until(lambda: server.counters.wills_dropped == 1)
        await wait_until(lambda: station.committed == 1)
        await watcher.ping()
        assert station.taken == []


async def test_a_will_that_is_over_the_quota_by_then_reaches_nobody() -> None:
    station = MemoryStation()
    async with serving(station) as server, connected(server, "watch") as watcher:
        await watcher.subscribe(("#", 0))
        async with connected(server, will=Publish("x/readings", b"0", 0, 1)):
            station.over_quota.add("org-a")
        await wait_until(lambda: server.counters.wills_dropped == 1)
        await wait_until(lambda: station.committed == 1)
        await watcher.ping()
        assert station.taken == []
