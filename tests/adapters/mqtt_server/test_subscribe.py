"""SUBSCRIBE and what subscribers get: once, in order, within their organization and their pace."""

from datetime import UTC, datetime

import pytest

from fieldstation.adapters.mqtt_server.options import OutboxLimits
from fieldstation.adapters.mqtt_server.packets import Publish
from fieldstation.core.clock import ManualClock
from tests.adapters.mqtt_server.raw_client import (
    DISCONNECT,
    UNSUBACK,
    Received,
    connected,
    puback_bytes,
    publish_bytes,
    read_publish,
    subscribe_bytes,
    unsubscribe_bytes,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


async def test_a_subscriber_gets_what_matches_with_the_lower_qos() -> None:
    async with serving(MemoryStation()) as server, connected(server, "sub") as subscriber:
        assert await subscriber.subscribe(("zero", 0), ("one", 1), ("two", 2)) == b"\0\1\2"
        async with connected(server, "pub") as publisher:
            publisher.send(
                publish_bytes("zero", b"a", packet_id=1),
                publish_bytes("one", b"b", packet_id=2),
                publish_bytes("one", b"c"),
                publish_bytes("three", b"d", packet_id=3),
                publish_bytes("two", b"e", packet_id=4),
            )
            assert await publisher.read_pubacks(4) == [1, 2, 3, 4]
        assert await subscriber.read_message() == Publish("zero", b"a")
        assert await subscriber.read_message() == Publish("one", b"b", 1, 1)
        assert await subscriber.read_message() == Publish("one", b"c")
        assert await subscriber.read_message() == Publish("two", b"e", 2, 1)


async def test_overlapping_subscriptions_deliver_once_with_the_highest_qos() -> None:
    async with serving(MemoryStation()) as server, connected(server) as client:
        await client.subscribe(("a/#", 0), ("a/+", 1), ("a/b", 0))
        client.send(publish_bytes("a/b", b"1", packet_id=1), publish_bytes("a", b"2"))
        received = [await client.read() for _ in range(3)]
        messages = [read_publish(each) for each in received if each.first & 0xF0 == 0x30]
        assert messages == [Publish("a/b", b"1", 1, 1), Publish("a", b"2")]


async def test_subscribers_see_a_reading_when_it_is_settled_and_not_before() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server, connected(server, "sub") as subscriber:
        await subscriber.subscribe(("#", 0))
        async with connected(server, "pub") as publisher:
            publisher.send(
                publish_bytes("x/readings", b"1", packet_id=1), publish_bytes("other", b"2")
            )
            await wait_until(lambda: station.unsettled == 1 and len(station.passed) == 1)
            await subscriber.ping()
            station.commit()
            assert await subscriber.read_message() == Publish("x/readings", b"1")
            assert await subscriber.read_message() == Publish("other", b"2")


async def test_a_filter_that_is_not_allowed_is_refused_alone() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected(server, username="device:d1") as device,
    ):
        codes = await device.subscribe(
            ("#", 0), ("devices/d1/commands", 1), ("devices/+/commands", 1), ("$share/g/a", 0)
        )
        assert codes == b"\x80\x01\x80\x80"
        assert server.publish("org-a", "devices/d1/commands", b"go", qos=1) == 1
        assert server.publish("org-a", "devices/d2/commands", b"go", qos=1) == 0
        assert await device.read_message() == Publish("devices/d1/commands", b"go", 1, 1)


async def test_subscriptions_are_bounded_and_an_old_one_can_still_change() -> None:
    async with serving(MemoryStation(), subscriptions_max=2) as server, connected(server) as client:
        assert await client.subscribe(("a", 0), ("b", 0), ("c", 0)) == b"\0\0\x80"
        assert await client.subscribe(("b", 1)) == b"\1"


async def test_what_is_unsubscribed_is_not_delivered() -> None:
    async with serving(MemoryStation()) as server, connected(server) as client:
        await client.subscribe(("a", 0), ("b", 0))
        client.send(unsubscribe_bytes("a", "never-subscribed", packet_id=7))
        assert await client.read() == Received(UNSUBACK, b"\0\7")
        client.send(publish_bytes("a"), publish_bytes("b", b"2"))
        assert await client.read_message() == Publish("b", b"2")


async def test_organizations_share_nothing() -> None:
    station = MemoryStation()
    async with (
        serving(station) as server,
        connected(server, "same", username="ann@org-a") as ann,
        connected(server, "same", username="bob@org-b") as bob,
    ):
        for client in (ann, bob):
            assert await client.subscribe(("#", 1), ("+/+", 1), ("$other/#", 1)) == b"\1\1\1"
        ann.send(publish_bytes("same/topic", b"of a", retain=True))
        assert await ann.read_message() == Publish("same/topic", b"of a")
        bob.send(publish_bytes("same/topic", b"of b", retain=True))
        assert await bob.read_message() == Publish("same/topic", b"of b")
        await wait_until(lambda: len(station.retained) == 2)
        await ann.ping()
        assert await bob.subscribe(("same/topic", 0)) == b"\0"
        assert await bob.read_message() == Publish("same/topic", b"of b", retain=True)
        assert server.publish("org-c", "same/topic", b"?", qos=0) == 0


async def test_topics_that_begin_with_a_dollar_need_their_own_subscription() -> None:
    async with serving(MemoryStation()) as server, connected(server) as client:
        await client.subscribe(("#", 0), ("$SYS/+", 0))
        client.send(publish_bytes("$other/x"), publish_bytes("$SYS/x", b"2"))
        assert await client.read_message() == Publish("$SYS/x", b"2")
        await client.ping()


async def test_only_so_many_messages_are_sent_before_one_is_acknowledged() -> None:
    limits = OutboxLimits(inflight_max=2)
    async with serving(MemoryStation(), outbox=limits) as server, connected(server) as client:
        await client.subscribe(("a", 1))
        for number in range(5):
            server.publish("org-a", "a", b"%d" % number, qos=1)
        assert [(await client.read_message()).packet_id for _ in range(2)] == [1, 2]
        await client.ping()
        client.send(puback_bytes(1), puback_bytes(1), puback_bytes(4_711))
        assert await client.read_message() == Publish("a", b"2", 3, 1)
        await client.ping()
        client.send(puback_bytes(2), puback_bytes(3))
        assert [(await client.read_message()).payload for _ in range(2)] == [b"3", b"4"]


async def test_a_persistent_session_gets_what_it_missed_and_again_what_it_did_not_acknowledge() -> (
    None
):
    station = MemoryStation()
    async with serving(station) as server:
        async with connected(server, clean=False) as client:
            await client.subscribe(("a", 1), ("zero", 0))
            server.publish("org-a", "a", b"acknowledged", qos=1)
            server.publish("org-a", "a", b"unacknowledged", qos=1)
            assert (await client.read_message()).packet_id == 1
            assert (await client.read_message()).packet_id == 2
            client.send(puback_bytes(1), DISCONNECT)
            assert await client.read_to_end() == b""
        await wait_until(lambda: server.counters.connections == 0)
        server.publish("org-a", "a", b"missed", qos=1)
        server.publish("org-a", "a", b"not kept", qos=0)
        server.publish("org-a", "zero", b"not kept either", qos=1)
        async with connected(server, clean=False, present=True) as client:
            first, body = await client.read()
            assert first == 0x3A
            assert read_publish(Received(first, body)) == Publish("a", b"unacknowledged", 2, 1)
            assert await client.read_message() == Publish("a", b"missed", 3, 1)
            server.publish("org-a", "zero", b"live", qos=0)
            assert await client.read_message() == Publish("zero", b"live")
        async with connected(server, clean=True) as client:
            server.publish("org-a", "a", b"forgotten", qos=1)
            await client.ping()
        async with connected(server, clean=False):
            assert server.publish("org-a", "a", b"forgotten", qos=1) == 0


async def test_a_session_belongs_to_who_made_it() -> None:
    async with serving(MemoryStation()) as server:
        async with connected(server, clean=False, username="device:d1") as client:
            await client.subscribe(("devices/d1/commands", 1))
        await wait_until(lambda: server.counters.connections == 0)
        server.publish("org-a", "devices/d1/commands", b"secret", qos=1)
        async with connected(server, clean=False, username="device:d2") as client:
            await client.ping()
            assert server.publish("org-a", "devices/d1/commands", b"secret", qos=1) == 0


async def test_a_session_ends_with_the_right_to_its_subscriptions() -> None:
    station = MemoryStation()
    async with serving(station) as server:
        async with connected(server, clean=False) as client:
            await client.subscribe(("a", 1))
        await wait_until(lambda: server.counters.connections == 0)
        server.publish("org-a", "a", b"secret", qos=1)
        station.forbidden_filters.add("a")
        async with connected(server, clean=False) as client:
            await client.ping()


async def test_a_session_takes_over_its_subscriptions_from_a_connection_that_still_stands() -> None:
    async with serving(MemoryStation()) as server, connected(server, clean=False) as old:
        await old.subscribe(("a", 1))
        server.publish("org-a", "a", b"1", qos=1)
        assert (await old.read_message()).packet_id == 1
        async with connected(server, clean=False, present=True) as new:
            assert (await new.read()).first == 0x3A


async def test_sessions_of_absent_clients_expire() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with serving(MemoryStation(), clock=clock, session_expiry_s=60.0) as server:
        async with connected(server, clean=False) as client:
            await client.subscribe(("a", 1))
        await wait_until(lambda: server.counters.connections == 0)
        assert server.publish("org-a", "a", b"1", qos=1) == 1
        clock.advance(61)
        await wait_until(lambda: server.publish("org-a", "a", b"1", qos=1) == 0)
        async with connected(server, clean=False) as client:
            await client.ping()


async def test_the_longest_absent_session_makes_room_for_another() -> None:
    async with serving(MemoryStation(), sessions_kept_max=2) as server:
        for name in ("c1", "c2", "c3"):
            async with connected(server, name, clean=False) as client:
                await client.subscribe(("a", 1))
            await wait_until(lambda: server.counters.connections == 0)
        assert server.publish("org-a", "a", b"1", qos=1) == 2
        async with connected(server, "c1", clean=False) as client:
            await client.ping()


async def test_a_flood_of_subscriptions_is_answered_one_by_one() -> None:
    async with serving(MemoryStation()) as server, connected(server) as client:
        client.send(*(subscribe_bytes((f"a/{n}", 0), packet_id=n) for n in range(1, 101)))
        answers = [await client.read() for _ in range(100)]
        assert [int.from_bytes(body[:2], "big") for _, body in answers] == list(range(1, 101))
