"""PUBLISH: acknowledged when it is safe, in order, and never before."""

import asyncio

import pytest

from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.packets import ConnectCode
from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    connect_bytes,
    connected,
    publish_bytes,
    raw_client,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

READINGS = "x/readings"


async def test_a_message_is_acknowledged_only_when_it_is_settled() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server, connected(server) as client:
        client.send(*(publish_bytes(READINGS, packet_id=n) for n in (5, 6, 7)))
        # The answer to a later PINGREQ arrives, that to the messages does not.
        await client.ping()
        assert station.unsettled == 3
        station.commit(2)
        assert await client.read_pubacks(2) == [5, 6]
        await client.ping()
        station.commit()
        assert await client.read_pubacks(1) == [7]
        assert server.counters.acknowledged == 3


async def test_acknowledgements_keep_the_order_of_arrival() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server, connected(server) as client:
        client.send(publish_bytes("other", packet_id=1))
        assert await client.read_pubacks(1) == [1]
        client.send(
            publish_bytes(READINGS, packet_id=2),
            publish_bytes("other", packet_id=3),
            publish_bytes(READINGS, packet_id=4),
            publish_bytes("other"),
            publish_bytes("other", packet_id=5),
        )
        await client.ping()
        station.commit(1)
        assert await client.read_pubacks(2) == [2, 3]
        await client.ping()
        station.commit()
        assert await client.read_pubacks(2) == [4, 5]


async def test_qos_0_counts_for_the_receipt_and_is_not_acknowledged() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server, connected(server) as client:
        client.send(
            publish_bytes(READINGS, b"a"),
            publish_bytes(READINGS, b"b", packet_id=9),
            publish_bytes(READINGS, b"c"),
        )
        await wait_until(lambda: station.unsettled == 3)
        station.commit()
        assert await client.read_pubacks(1) == [9]
        await client.ping()
        assert [payload for _, payload in station.taken] == [b"a", b"b", b"c"]


async def test_ten_thousand_messages_are_all_acknowledged_in_order() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station, receive_bytes_max=4_096) as server, connected(server) as client:
        for start in range(0, 10_000, 1_000):
            client.send(
                *(
                    publish_bytes(READINGS, b"%d" % n, packet_id=n + 1)
                    for n in range(start, start + 1_000)
                )
            )
            await wait_until(lambda: station.unsettled == 1_000)
            station.commit()
            assert await client.read_pubacks(1_000) == list(range(start + 1, start + 1_001))
        assert [int(payload) for _, payload in station.taken] == list(range(10_000))


async def test_a_full_intake_stops_reading_and_loses_nothing() -> None:
    station = MemoryStation(room=10, commits_itself=False)
    async with serving(station) as server, connected(server) as client:
        client.send(*(publish_bytes(READINGS, b"%d" % n, packet_id=n) for n in range(1, 101)))
        for start in range(1, 101, 10):
            await wait_until(lambda: station.unsettled == 10)
            station.commit()
            assert await client.read_pubacks(10) == list(range(start, start + 10))
        await client.ping()
        assert [int(payload) for _, payload in station.taken] == list(range(1, 101))
        assert server.counters.paused == 9
        assert server.counters.messages_received == 100


async def test_a_full_intake_holds_up_the_sender_not_our_memory() -> None:
    station = MemoryStation(room=1, commits_itself=False)
    payload = b"x" * 50_000
    async with serving(station) as server, connected(server) as client:
        client.writer.transport.set_write_buffer_limits(high=0)
        client.send(*(publish_bytes(READINGS, payload, packet_id=n) for n in range(1, 801)))
        await wait_until(lambda: station.waiting_for_room == 1)
        # Of 40 MB, the kernel's buffers hold at most some 10 MB and the server a packet or two.
        assert client.writer.transport.get_write_buffer_size() > 25_000_000
        station.room = 1_000
        station.commits_itself = True
        station.commit()
        assert await client.read_pubacks(800) == list(range(1, 801))


async def test_a_full_intake_drops_qos_0_and_counts_it() -> None:
    station = MemoryStation(room=1, commits_itself=False)
    async with serving(station) as server, connected(server) as client:
        client.send(*(publish_bytes(READINGS, b"%d" % n) for n in range(3)))
        await client.ping()
        assert server.counters.dropped_qos0 == 2
        assert station.taken == [(READINGS, b"0")]
        station.commit()


async def test_what_the_station_must_load_first_waits_qos_0_too() -> None:
    station = MemoryStation()
    station.not_loaded_topics.add(READINGS)
    async with serving(station) as server, connected(server) as client:
        client.send(publish_bytes(READINGS, b"0"), publish_bytes(READINGS, b"1", packet_id=1))
        await wait_until(lambda: station.waiting_for_room == 1)
        station.not_loaded_topics.clear()
        station.wake()
        assert await client.read_pubacks(1) == [1]
        assert [payload for _, payload in station.taken] == [b"0", b"1"]
        assert server.counters.dropped_qos0 == 0


async def test_a_connection_lost_while_it_waits_for_room_is_still_forgotten() -> None:
    station = MemoryStation(room=0)
    async with serving(station) as server:
        async with connected(server) as client:
            client.send(publish_bytes(READINGS, packet_id=1))
            await wait_until(lambda: station.waiting_for_room == 1)
        station.room = 10
        station.wake()
        await wait_until(lambda: server.counters.connections == 0)


async def test_a_takeover_of_a_connection_that_waits_for_room_sends_again() -> None:
    station = MemoryStation(room=0)
    async with serving(station) as server, connected(server) as old:
        old.send(publish_bytes(READINGS, b"a", packet_id=1))
        await wait_until(lambda: station.waiting_for_room == 1)
        async with connected(server) as new:
            station.room = 10
            station.wake()
            new.send(publish_bytes(READINGS, b"a", packet_id=1))
            assert await new.read_pubacks(1) == [1]
            assert station.taken == [(READINGS, b"a")]


async def test_what_was_not_stored_closes_without_acknowledgement() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server, connected(server) as client:
        client.send(publish_bytes(READINGS, packet_id=1))
        await wait_until(lambda: station.unsettled == 1)
        station.lose_everything()
        assert await client.read_to_end() == b""
        assert server.counters.failed == 1


async def test_a_message_settled_after_its_client_left_hurts_nobody() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server:
        async with connected(server) as client:
            client.send(publish_bytes(READINGS, packet_id=1))
            await wait_until(lambda: station.unsettled == 1)
        await wait_until(lambda: server.counters.connections == 0)
        station.commit()
        assert server.counters.acknowledged == 0


async def test_a_foreign_topic_closes_after_what_came_before_was_acknowledged() -> None:
    station = MemoryStation()
    async with serving(station) as server:
        async with connected(server, username="device:d1") as client:
            client.send(publish_bytes("devices/d1/readings", packet_id=1))
            assert await client.read_pubacks(1) == [1]
            client.send(publish_bytes("devices/d2/readings", packet_id=2))
            assert await client.read_to_end() == b""
        assert server.counters.denied == 1
        assert station.taken == [("devices/d1/readings", b"1")]


async def test_over_quota_closes_and_connect_is_refused_until_it_resets() -> None:
    station = MemoryStation()
    async with serving(station) as server:
        async with connected(server) as client:
            station.over_quota.add("org-a")
            client.send(publish_bytes(READINGS, packet_id=1))
            assert await client.read_to_end() == b""
            assert server.counters.over_quota == 1
        async with raw_client(server) as client:
            client.send(connect_bytes())
            assert await client.read_to_end() == bytes((CONNACK, 2, 0, ConnectCode.UNAVAILABLE))
        station.over_quota.clear()
        async with connected(server) as client:
            client.send(publish_bytes(READINGS, packet_id=1))
            assert await client.read_pubacks(1) == [1]
        assert len(station.taken) == 1


async def test_the_largest_packet_passes_and_a_larger_one_closes() -> None:
    station = MemoryStation()
    limits = PacketLimits(packet_bytes_max=200_000)
    async with serving(station, packets=limits) as server, connected(server) as client:
        client.send(publish_bytes(READINGS, b"x" * 199_000, packet_id=1))
        assert await client.read_pubacks(1) == [1]
        client.send(publish_bytes(READINGS, b"x" * 201_000, packet_id=2))
        assert await client.read_to_end() == b""
        assert len(station.taken) == 1


async def test_a_defect_in_the_station_costs_one_connection_only() -> None:
    station = MemoryStation()
    station.broken_topics.add("broken")
    async with (
        serving(station) as server,
        connected(server, "c1") as victim,
        connected(server, "c2") as other,
    ):
        caught = collect_loop_errors()
        victim.send(publish_bytes("broken", packet_id=1))
        assert await victim.read_to_end() == b""
        await other.ping()
        assert [type(error) for error in caught] == [RuntimeError]


def collect_loop_errors() -> list[object]:
    caught: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: caught.append(context.get("exception"))
    )
    return caught
