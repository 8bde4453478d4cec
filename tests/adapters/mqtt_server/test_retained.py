"""Retained messages: committed first, there after a restart, gone when deleted."""

from datetime import UTC, datetime

import pytest

from fieldstation.adapters.mqtt_server.grants import Grant, match_of
from fieldstation.adapters.mqtt_server.options import MqttCounters, OutboxLimits, SpaceLimits
from fieldstation.adapters.mqtt_server.outbox import Outbox
from fieldstation.adapters.mqtt_server.packets import Publish, Reason
from fieldstation.adapters.mqtt_server.ports import Verdict
from fieldstation.adapters.mqtt_server.space import TopicSpace
from fieldstation.core.clock import ManualClock, SystemClock
from fieldstation.domains.messaging.schemas import Retained
from tests.adapters.mqtt_server.raw_client import connected, publish_bytes
from tests.adapters.mqtt_server.raw_client5 import code_of, connected5, publish5
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


async def test_a_later_subscriber_gets_the_last_retained_message() -> None:
    async with serving(MemoryStation()) as server, connected(server, "pub") as publisher:
        publisher.send(
            publish_bytes("a/b", b"old", packet_id=1, retain=True),
            publish_bytes("a/b", b"new", packet_id=2, retain=True),
            publish_bytes("a/c", b"not retained", packet_id=3),
        )
        assert await publisher.read_pubacks(3) == [1, 2, 3]
        async with connected(server, "sub") as subscriber:
            await subscriber.subscribe(("a/+", 0), ("nothing/here", 0))
            assert await subscriber.read_message() == Publish("a/b", b"new", retain=True)
            await subscriber.subscribe(("a/b", 1))
            assert await subscriber.read_message() == Publish("a/b", b"new", 1, 1, retain=True)
            publisher.send(publish_bytes("a/b", b"live", retain=True))
            assert await subscriber.read_message() == Publish("a/b", b"live", 0, 0)


async def test_a_retained_message_survives_a_restart_until_it_is_deleted() -> None:
    station = MemoryStation()
    async with serving(station) as server, connected(server) as client:
        client.send(
            publish_bytes("keep", b"1", packet_id=1, retain=True),
            publish_bytes("drop", b"2", packet_id=2, retain=True),
        )
        assert await client.read_pubacks(2) == [1, 2]
    async with serving(station) as server, connected(server) as client:
        await client.subscribe(("#", 1))
        found = {(await client.read_message()).topic for _ in range(2)}
        assert found == {"keep", "drop"}
        client.send(publish_bytes("drop", b"", packet_id=3, retain=True))
        assert (await client.read_message()).payload == b""
        assert await client.read_pubacks(1) == [3]
    async with serving(station) as server, connected(server) as client:
        await client.subscribe(("#", 0))
        assert await client.read_message() == Publish("keep", b"1", retain=True)
        await client.ping()


async def test_everything_that_waits_is_saved_in_one_commit_before_any_acknowledgement() -> None:
    station = MemoryStation()
    station.retained_may_commit.clear()
    async with serving(station) as server, connected(server) as client:
        client.send(publish_bytes("a/0", packet_id=1, retain=True))
        await client.ping()
        client.send(*(publish_bytes(f"a/{n}", packet_id=n, retain=True) for n in range(2, 52)))
        client.send(publish_bytes("plain", packet_id=52))
        await client.ping()
        assert server.counters.acknowledged == 0
        station.retained_may_commit.set()
        assert await client.read_pubacks(52) == list(range(1, 53))
        assert station.retained_commits == [1, 50]


async def test_a_retained_reading_waits_for_both_commits() -> None:
    station = MemoryStation(commits_itself=False)
    station.retained_may_commit.clear()
    async with serving(station) as server, connected(server) as client:
        client.send(
            publish_bytes("x/readings", packet_id=1, retain=True),
            publish_bytes("x/readings", packet_id=2),
        )
        await client.ping()
        station.commit()
        await client.ping()
        assert server.counters.acknowledged == 0
        station.retained_may_commit.set()
        assert await client.read_pubacks(2) == [1, 2]


async def test_while_the_database_is_away_retained_messages_wait_and_then_all_are_saved() -> None:
    station = MemoryStation()
    station.retained_busy = True
    async with serving(station, changes_waiting_max=5) as server, connected(server) as client:
        client.send(*(publish_bytes(f"a/{n}", packet_id=n, retain=True) for n in range(1, 21)))
        await wait_until(lambda: server.counters.paused == 1)
        async with connected(server, "other") as other:
            other.send(publish_bytes("lost", retain=True))
            await other.ping()
            assert server.counters.dropped_qos0 == 1
        station.retained_busy = False
        assert await client.read_pubacks(20) == list(range(1, 21))
        assert len(station.retained) == 20


async def test_beyond_the_limit_a_message_is_delivered_and_acknowledged_but_not_retained() -> None:
    station = MemoryStation()
    limits = SpaceLimits(retained_messages_max=2)
    async with serving(station, space=limits) as server, connected(server) as client:
        await client.subscribe(("#", 0))
        client.send(*(publish_bytes(f"a/{n}", packet_id=n, retain=True) for n in (1, 2, 3)))
        received = [await client.read() for _ in range(6)]
        assert sum(first == 0x30 for first, _ in received) == 3
        assert server.counters.retained_refused == 1
        assert set(station.retained) == {("org-a", "a/1"), ("org-a", "a/2")}


def test_retained_bytes_are_bounded_and_freed() -> None:
    counters = MqttCounters()
    space = TopicSpace(SpaceLimits(retained_bytes_max=100), counters, SystemClock())

    def retain(topic: str, size: int, properties: bytes = b"") -> bool:
        """Whether the topic retains exactly this afterwards."""
        change = space.retain(Retained("org-a", topic, b"x" * size, 0, properties))
        assert change is not None
        return len(change.payload) == size

    assert retain("a", 59)
    assert not retain("b", 59)
    assert retain("a", 89)
    assert not retain("a", 100)
    assert space.retained("#", Grant(0)) == []
    assert not retain("a", 10, properties=b"x" * 90)
    assert retain("a", 9, properties=b"x" * 90)
    assert retain("a", 0)
    assert retain("b", 99)
    assert retain("never there", 0)
    assert [kept.message.topic for kept in space.retained("#", Grant(0))] == ["b"]


def test_the_matches_remembered_are_bounded() -> None:
    space = TopicSpace(SpaceLimits(match_cache_entries_max=2), MqttCounters(), SystemClock())
    listener = Listener()
    space.subscribe(listener, "a/#", match_of(0, 0))
    for _ in range(2):
        assert [space.forward(Publish(f"a/{number}", b"", 0, 1)) for number in range(5)] == [1] * 5
    space.unsubscribe(listener, ["a/#"])
    assert space.forward(Publish("a/0", b"", 0, 1)) == 0


class Listener:
    """Subscribes, and is never there."""

    def __init__(self) -> None:
        now_us = SystemClock().now_us
        self.outbox = Outbox(OutboxLimits(), MqttCounters(), persistent=False, now_us=now_us)


async def test_many_retained_messages_arrive_however_small_the_window() -> None:
    station = MemoryStation()
    for number in range(500):
        topic = f"a/{number}"
        station.retained["org-a", topic] = Retained("org-a", topic, b"1", 1)
    limits = OutboxLimits(inflight_max=3, queue_messages_max=5)
    async with serving(station, outbox=limits) as server, connected(server) as client:
        await client.subscribe(("#", 1))
        topics = set()
        for _ in range(500):
            message = await client.read_message()
            topics.add(message.topic)
            client.send(b"\x40\x02" + message.packet_id.to_bytes(2, "big"))
        assert len(topics) == 500


async def test_who_asks_for_retained_messages_faster_than_it_reads_is_closed() -> None:
    station = MemoryStation()
    for number in range(50):
        topic = f"a/{number}"
        station.retained["org-a", topic] = Retained("org-a", topic, b"1", 1)
    limits = OutboxLimits(inflight_max=1, retained_backlog_max=120)
    async with serving(station, outbox=limits) as server, connected(server) as client:
        await client.subscribe(("#", 1), ("a/#", 1), ("+/+", 1))
        await client.read_to_end()
        assert server.counters.slow_closed == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_refused_reading_is_neither_delivered_nor_retained(qos: int) -> None:
    station = MemoryStation()
    station.verdicts[b"NaN"] = Verdict.REFUSED
    async with serving(station) as server, connected(server) as client:
        await client.subscribe(("#", 0))
        client.send(
            publish_bytes("x/readings", b"NaN", packet_id=min(qos, 1), qos=qos, retain=True)
        )
        if qos:
            assert (await client.read()).first == (0x40 if qos == 1 else 0x50)
        await wait_until(lambda: station.committed == 1)
        await client.ping()
        assert station.retained == {}


async def test_an_empty_retained_message_is_no_reading() -> None:
    station = MemoryStation()
    async with serving(station) as server, connected(server, username="device:d1") as client:
        for number, payload in enumerate((b"1", b""), start=1):
            client.send(
                publish_bytes("devices/d1/readings", payload, packet_id=number, retain=True)
            )
            assert await client.read_pubacks(1) == [number]
        assert station.taken == [("devices/d1/readings", b"1")]
        assert station.retained == {}
        client.send(publish_bytes("devices/d2/readings", b"", packet_id=3, retain=True))
        assert await client.read_to_end() == b""


@pytest.mark.parametrize("level", [4, 5])
async def test_without_room_a_topic_serves_no_older_message_than_was_acknowledged(
    level: int,
) -> None:
    station = MemoryStation()
    limits = SpaceLimits(retained_bytes_max=20)
    async with serving(station, space=limits) as server:
        if level == 4:
            async with connected(server) as client:
                client.send(publish_bytes("a", b"old", packet_id=1, retain=True))
                client.send(publish_bytes("a", b"x" * 20, packet_id=2, retain=True))
                assert await client.read_pubacks(2) == [1, 2]
                assert await client.subscribe(("a", 0)) == b"\0"
                await client.ping()
                assert station.retained == {}
        else:
            async with connected5(server) as client:
                client.send(publish5("a", b"old", packet_id=1, retain=True))
                client.send(publish5("a", b"x" * 20, packet_id=2, retain=True))
                assert code_of(await client.read(), 0x40) == (1, 0)
                assert code_of(await client.read(), 0x40) == (2, Reason.QUOTA_EXCEEDED)
                assert station.retained["org-a", "a"].payload == b"old"
        assert server.counters.retained_refused == 1


async def test_expired_messages_are_forgotten_and_make_room() -> None:
    station = MemoryStation()
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    limits = SpaceLimits(retained_messages_max=1)
    async with serving(station, clock=clock, space=limits) as server, connected5(server) as client:
        client.send(publish5("a", b"1", packet_id=1, retain=True, properties={0x02: 30}))
        assert code_of(await client.read(), 0x40) == (1, 0)
        clock.advance(31)
        await wait_until(lambda: station.retained == {})
        client.send(publish5("b", b"1", packet_id=2, retain=True))
        assert code_of(await client.read(), 0x40) == (2, 0)


def test_the_later_of_two_nodes_changes_stands() -> None:
    space = TopicSpace(SpaceLimits(), MqttCounters(), SystemClock())
    later = Retained("org-a", "a", b"later", 0, at_us=2)
    assert space.retain(later) == later
    assert space.retain(Retained("org-a", "a", b"earlier", 0, at_us=1)) is None
    assert [kept.message.payload for kept in space.retained("a", Grant(0))] == [b"later"]


def test_reading_all_again_drops_what_others_deleted_and_keeps_what_is_newer() -> None:
    space = TopicSpace(SpaceLimits(), MqttCounters(), SystemClock())
    for topic, at_us in (("deleted", 1), ("changed", 1), ("newer", 9)):
        space.retain(Retained("org-a", topic, b"mine", 0, at_us=at_us))
    read = [Retained("org-a", topic, b"read", 0, at_us=5) for topic in ("changed", "newer", "new")]
    space.catch_up(read, before_us=6)
    kept = {each.message.topic: each.message.payload for each in space.retained("#", Grant(0))}
    assert kept == {"changed": b"read", "newer": b"mine", "new": b"read"}
