"""MQTT 5: what it announces, what it refuses and what it passes on."""

from datetime import UTC, datetime

import pytest

from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.packets import Reason
from fieldstation.adapters.mqtt_server.ports import Verdict
from fieldstation.core.clock import ManualClock
from tests.adapters.mqtt_server.raw_client import (
    PINGREQ,
    PUBACK,
    UNSUBACK,
    connected,
    packet,
    publish_bytes,
    raw_client,
    text,
)
from tests.adapters.mqtt_server.raw_client5 import (
    Message5,
    Properties,
    acknowledge,
    code_of,
    connect5,
    connected5,
    disconnect5,
    property_bytes,
    publish5,
    read_connack,
    read_goodbye,
    read_message5,
    subscribe5,
    subscribe_5,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

PUBREC = 0x50
READINGS = "x/readings"
DAY_S = 86_400
PASSED_ON: Properties = {
    0x01: 1,
    0x03: b"text/plain",
    0x08: b"answers/here",
    0x09: b"\x00\xff",
    0x26: [("a", "1"), ("a", "2")],
}


async def test_connack_announces_the_limits_of_the_server() -> None:
    limits = PacketLimits(packet_bytes_max=70_000, topic_aliases_max=7)
    async with (
        serving(MemoryStation(), packets=limits, receive_maximum=9) as server,
        raw_client(server) as client,
    ):
        client.send(connect5("", properties={0x11: 10 * DAY_S}))
        welcome = await read_connack(client)
        assigned = welcome.properties.pop(0x12)
        assert isinstance(assigned, bytes)
        assert len(assigned) > 10
        assert welcome == (False, 0, {0x21: 9, 0x27: 70_000, 0x22: 7, 0x11: DAY_S})


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (connect5(password="wrong"), Reason.BAD_CREDENTIALS),
        (connect5("x" * 300), Reason.BAD_CLIENT_ID),
        (connect5(properties={0x15: b"SCRAM"}), Reason.BAD_AUTHENTICATION_METHOD),
        (connect5()[:8] + b"\x06" + connect5()[9:], Reason.UNSUPPORTED_VERSION),
        (
            connect5(username="device:d1", will=("other/topic", b"", 0, {})),
            Reason.NOT_AUTHORIZED,
        ),
    ],
)
async def test_a_refused_connect_is_told_why(frame: bytes, code: Reason) -> None:
    async with serving(MemoryStation()) as server, raw_client(server) as client:
        client.send(frame)
        welcome = await read_connack(client)
        assert (welcome.present, welcome.code) == (False, code)
        assert 0x1F in welcome.properties
        assert await client.read_to_end() == b""


async def test_an_acknowledgement_says_what_became_of_the_message() -> None:
    station = MemoryStation(commits_itself=False)
    station.verdicts[b"NaN"] = Verdict.REFUSED
    async with serving(station) as server, connected5(server, username="device:d1") as client:
        own = "devices/d1/readings"
        client.send(
            publish5(own, packet_id=1),
            publish5("devices/d2/readings", packet_id=2),
            publish5(own, b"NaN", packet_id=3),
            publish5("devices/d2/readings", packet_id=4, qos=2),
            publish5(own, b"NaN", packet_id=5, qos=2),
            publish5("devices/d2/readings"),
        )
        await wait_until(lambda: station.unsettled == 3 and server.counters.denied == 3)
        station.commit()
        assert [code_of(await client.read(), PUBACK) for _ in range(3)] == [
            (1, 0),
            (2, Reason.NOT_AUTHORIZED),
            (3, Reason.BAD_PAYLOAD),
        ]
        assert [code_of(await client.read(), PUBREC) for _ in range(2)] == [
            (4, Reason.NOT_AUTHORIZED),
            (5, Reason.BAD_PAYLOAD),
        ]
        station.over_quota.add("org-a")
        client.send(publish5(own, packet_id=6))
        await wait_until(lambda: station.unsettled == 1)
        station.commit()
        assert code_of(await client.read(), PUBACK) == (6, Reason.QUOTA_EXCEEDED)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (connect5(), Reason.PROTOCOL_ERROR),
        (packet(0xF0, b""), Reason.PROTOCOL_ERROR),
        (publish5("a/+"), Reason.BAD_TOPIC),
        (publish5(""), Reason.PROTOCOL_ERROR),
        (publish5("", properties={0x23: 1}), Reason.BAD_TOPIC_ALIAS),
        (publish5("a", properties={0x23: 0}), Reason.BAD_TOPIC_ALIAS),
        (publish5("a", properties={0x23: 33}), Reason.BAD_TOPIC_ALIAS),
        (publish5("a", properties={0x0B: 1}), Reason.PROTOCOL_ERROR),
        (publish5("a", properties={0x01: 2}), Reason.PROTOCOL_ERROR),
        (packet(0x30, text("a") + b"\x0a" + b"\x02\0\0\0\1" * 2), Reason.PROTOCOL_ERROR),
        (subscribe5(("a/#/b", 0)), Reason.BAD_FILTER),
        (subscribe5(("$share/g", 0)), Reason.BAD_FILTER),
        (subscribe5(("$share/g+/a", 0)), Reason.BAD_FILTER),
        (subscribe5(("$share/g/a", 4)), Reason.PROTOCOL_ERROR),
        (subscribe5(("a", 0x30)), Reason.PROTOCOL_ERROR),
        (subscribe5(("a", 3)), Reason.PROTOCOL_ERROR),
        (subscribe5(("a", 0x40)), Reason.MALFORMED),
        (subscribe5(("a", 0), properties={0x0B: 0}), Reason.PROTOCOL_ERROR),
        (publish5("a", b"x" * 300_000), Reason.PACKET_TOO_LARGE),
        (disconnect5(0, {0x11: 60}), Reason.PROTOCOL_ERROR),
        (b"\x32\x04\x00\x01a\x00", Reason.MALFORMED),
    ],
)
async def test_a_violation_is_named_before_the_end(frame: bytes, code: Reason) -> None:
    limits = PacketLimits(packet_bytes_max=200_000)
    async with serving(MemoryStation(), packets=limits) as server, connected5(server) as client:
        client.send(frame)
        assert await read_goodbye(client) == code


async def test_who_ends_a_connection_says_why() -> None:
    async with serving(MemoryStation()) as server:
        async with connected5(server) as old, connected5(server) as new:
            assert await read_goodbye(old) == Reason.TAKEN_OVER
            assert server.revoke("key-of-ann") == 1
            assert await read_goodbye(new) == Reason.ADMINISTRATIVE
        async with connected5(server) as last:
            await server.drain()
            assert await read_goodbye(last) == Reason.SHUTTING_DOWN


@pytest.mark.parametrize("level", [4, 5])
async def test_a_half_open_connection_is_found_within_one_and_a_half_keep_alives(
    level: int,
) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    connect = connected if level == 4 else connected5
    async with (
        serving(MemoryStation(), clock=clock) as server,
        connect(server, keep_alive_s=10) as silent,
        connected(server, "other", keep_alive_s=0) as other,
    ):
        await wait_until(lambda: clock.advance(0.25) is None and server.counters.timeouts == 1)
        assert 14.5 < clock.monotonic() < 16
        if level == 5:
            assert await read_goodbye(silent) == Reason.KEEP_ALIVE_TIMEOUT
        else:
            assert await silent.read_to_end() == b""
        await other.ping()


async def test_bytes_that_make_no_packet_are_no_sign_of_life() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with (
        serving(MemoryStation(), clock=clock) as server,
        connected5(server, keep_alive_s=10) as client,
    ):
        frame = publish5("a", b"x" * 100)
        sent = 0

        def closed_after_another_second_and_byte() -> bool:
            nonlocal sent
            if server.counters.timeouts:
                return True
            client.send(frame[sent : sent + 1])
            sent += 1
            clock.advance(1.0)
            return False

        await wait_until(closed_after_another_second_and_byte)
        assert 14 <= clock.monotonic() < 18
        assert await read_goodbye(client) == Reason.KEEP_ALIVE_TIMEOUT


async def test_properties_reach_subscribers_of_mqtt_5_and_only_the_message_those_of_3() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected5(server, "new") as new,
        connected(server, "old") as old,
        connected5(server, "pub") as publisher,
    ):
        await subscribe_5(new, ("a", 1))
        await old.subscribe(("a", 1))
        publisher.send(publish5("a", b"x", packet_id=1, properties={**PASSED_ON, 0x23: 3}))
        publisher.send(publish5("", b"y", packet_id=2, properties={0x23: 3}))
        got = [read_message5(await new.read()) for _ in range(2)]
        assert got[0] == Message5(
            "a",
            b"x",
            1,
            1,
            properties=(
                (0x01, 1),
                (0x03, b"text/plain"),
                (0x08, b"answers/here"),
                (0x09, b"\x00\xff"),
                (0x26, ("a", "1")),
                (0x26, ("a", "2")),
            ),
        )
        assert got[1] == Message5("a", b"y", 2, 1)
        assert [(await old.read_message()).payload for _ in range(2)] == [b"x", b"y"]


async def test_retained_messages_keep_their_properties_and_expire() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    station = MemoryStation()
    async with serving(station, clock=clock) as server, connected5(server, "pub") as publisher:
        publisher.send(
            publish5("a", b"x", packet_id=1, retain=True, properties={0x02: 100, 0x03: b"t"})
        )
        assert code_of(await publisher.read(), PUBACK) == (1, 0)
    async with serving(station, clock=clock) as server, connected5(server) as client:
        clock.advance(40)
        await subscribe_5(client, ("a", 1))
        kept = Message5("a", b"x", 1, 1, retain=True, properties=((0x03, b"t"), (0x02, 60)))
        assert read_message5(await client.read()) == kept
        clock.advance(60)
        await subscribe_5(client, ("a", 1))
        await client.ping()


async def test_a_queued_message_expires_and_others_tell_what_is_left() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    kept: Properties = {0x11: 3_600}
    async with (
        serving(MemoryStation(), clock=clock) as server,
        connected5(server, "pub") as publisher,
    ):
        async with connected5(server, "sub", properties=kept) as client:
            await subscribe_5(client, ("a", 1))
        await wait_until(lambda: server.counters.connections == 1)
        publisher.send(
            publish5("a", b"short", packet_id=1, properties={0x02: 10}),
            publish5("a", b"long", packet_id=2, properties={0x02: 30}),
        )
        assert code_of(await publisher.read(), PUBACK) == (1, 0)
        assert code_of(await publisher.read(), PUBACK) == (2, 0)
        clock.advance(11)
        async with connected5(server, "sub", clean=False, properties=kept, present=True) as client:
            message = read_message5(await client.read())
            assert (message.payload, message.properties) == (b"long", ((0x02, 19),))
            await client.ping()
        assert server.counters.dropped_expired == 1


async def test_subscription_options_and_identifiers() -> None:
    async with serving(MemoryStation()) as server, connected5(server) as client:
        client.send(publish5("kept", b"0", packet_id=1, retain=True))
        assert code_of(await client.read(), PUBACK) == (1, 0)
        assert await subscribe_5(client, ("kept", 0x20)) == b"\0"
        assert await subscribe_5(client, ("kept", 0x10)) == b"\0"
        await client.ping()
        assert await subscribe_5(client, ("kept", 8), properties={0x0B: 100}) == b"\0"
        retained = read_message5(await client.read())
        assert (retained.payload, retained.retain) == (b"0", True)
        await subscribe_5(client, ("+", 1 | 0x20), properties={0x0B: 2})
        await subscribe_5(client, ("mine", 4), properties={0x0B: 5})
        client.send(publish5("kept", b"1", retain=True), publish5("mine", b"2"))
        both = read_message5(await client.read())
        assert (both.payload, both.retain) == (b"1", True)
        assert {name for name, _ in both.properties} == {0x0B}
        own = read_message5(await client.read())
        assert (own.payload, own.properties) == (b"2", ((0x0B, 2),))
        server.publish("org-a", "mine", b"3", qos=0)
        assert {value for _, value in read_message5(await client.read()).properties} == {2, 5}


async def test_unsubscribe_says_which_subscriptions_there_were() -> None:
    async with serving(MemoryStation()) as server, connected5(server) as client:
        await subscribe_5(client, ("a", 0))
        client.send(packet(0xA2, b"\0\7\0" + text("a") + text("b")))
        received = await client.read()
        assert received.first == UNSUBACK
        assert received.body == b"\0\7\0" + bytes((0, Reason.NO_SUBSCRIPTION))


async def test_filters_that_are_not_granted_are_told_apart() -> None:
    async with (
        serving(MemoryStation(), subscriptions_max=1) as server,
        connected5(server, username="device:d1") as client,
    ):
        codes = await subscribe_5(client, ("#", 0), ("devices/d1/a", 2), ("devices/d1/b", 0))
        assert codes == bytes((Reason.NOT_AUTHORIZED, 2, Reason.QUOTA_EXCEEDED))


async def test_a_client_gets_no_more_at_once_than_it_takes() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected5(server, properties={0x21: 2}) as client,
    ):
        await subscribe_5(client, ("a", 1))
        for number in range(4):
            server.publish("org-a", "a", b"%d" % number, qos=1)
        first = [read_message5(await client.read()) for _ in range(2)]
        await client.ping()
        client.send(acknowledge(PUBACK, first[0].packet_id))
        assert read_message5(await client.read()).payload == b"2"
        await client.ping()


async def test_a_client_that_sends_more_at_once_than_agreed_is_closed() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station, receive_maximum=2) as server, connected5(server) as client:
        client.send(publish5(READINGS, packet_id=1), publish5(READINGS, packet_id=2))
        await wait_until(lambda: station.unsettled == 2)
        station.commit()
        for packet_id in (1, 2):
            assert code_of(await client.read(), PUBACK) == (packet_id, 0)
        client.send(*(publish5(READINGS, packet_id=n) for n in (3, 4, 5)))
        assert await read_goodbye(client) == Reason.RECEIVE_MAXIMUM_EXCEEDED
        assert len(station.taken) == 4


async def test_topics_are_shortened_for_a_client_that_knows_aliases() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected5(server, properties={0x22: 1}) as client,
    ):
        await subscribe_5(client, ("#", 0))
        for topic in ("a/long/topic", "a/long/topic", "other"):
            server.publish("org-a", topic, b"1", qos=0)
        got = [read_message5(await client.read()) for _ in range(3)]
        assert [(each.topic, each.properties) for each in got] == [
            ("a/long/topic", ((0x23, 1),)),
            ("", ((0x23, 1),)),
            ("other", ()),
        ]


async def test_a_message_larger_than_a_client_takes_is_dropped_for_it_alone() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected5(server, "small", properties={0x27: 100}) as small,
        connected5(server, "large") as large,
    ):
        for client in (small, large):
            await subscribe_5(client, ("a", 1))
        server.publish("org-a", "a", b"x" * 200, qos=1)
        server.publish("org-a", "a", b"y", qos=1)
        assert read_message5(await small.read()).payload == b"y"
        assert read_message5(await large.read()).payload == b"x" * 200
        assert server.counters.dropped_large == 1


async def test_a_will_waits_for_its_delay_and_is_void_when_the_client_is_back() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    station = MemoryStation()
    will = ("gone", b"bye", 1, {0x18: 10, 0x03: b"t"})
    kept: Properties = {0x11: 3_600}
    async with serving(station, clock=clock) as server, connected5(server, "watch") as watcher:
        await subscribe_5(watcher, ("gone", 1))
        async with connected5(server, properties=kept, will=will) as client:
            client.writer.transport.abort()
        await wait_until(lambda: server.counters.connections == 1)
        clock.advance(9)
        async with connected5(server, clean=False, properties=kept, will=will, present=True):
            clock.advance(9)
            await watcher.ping()
            assert station.passed == []
        await wait_until(lambda: server.counters.connections == 1)
        clock.advance(10)
        message = read_message5(await watcher.read())
        assert message == Message5("gone", b"bye", 1, 1, properties=((0x03, b"t"),))


async def test_a_delayed_will_comes_when_the_session_ends() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    station = MemoryStation()
    will = ("gone", b"bye", 1, {0x18: 1_000})
    async with serving(station, clock=clock) as server:
        async with connected5(server, properties={0x11: 5}, will=will):
            pass
        await wait_until(lambda: server.counters.connections == 0)
        clock.advance(5)
        await wait_until(lambda: station.passed == [("gone", b"bye")])
        async with connected5(server, properties={0x11: 500}, will=will):
            pass
        await wait_until(lambda: server.counters.connections == 0)
        async with connected5(server):
            await wait_until(lambda: len(station.passed) == 2)


async def test_a_disconnect_can_ask_for_the_will_and_end_the_session() -> None:
    station = MemoryStation()
    will = ("gone", b"bye", 0, {0x18: 100})
    kept: Properties = {0x11: 100}
    async with serving(station) as server:
        async with connected5(server, properties=kept, will=will) as client:
            client.send(disconnect5(Reason.DISCONNECT_WITH_WILL, {0x11: 0}))
            assert await client.read_to_end() == b""
        assert station.passed == [("gone", b"bye")]
        async with connected5(server, clean=False, properties=kept, present=False):
            pass


async def test_both_versions_share_one_topic_space() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected(server, "old") as old,
        connected5(server, "new") as new,
        connected5(server, "foreign", username="bob@org-b") as foreign,
    ):
        await old.subscribe(("#", 0))
        await subscribe_5(foreign, ("#", 0))
        await subscribe_5(new, ("a", 4), ("b", 0))
        new.send(publish5("a", b"from new"))
        assert (await old.read_message()).payload == b"from new"
        old.send(publish_bytes("b", b"from old"), PINGREQ)
        assert read_message5(await new.read()).payload == b"from old"
        await foreign.ping()


def test_the_properties_of_these_tests_are_well_formed() -> None:
    assert property_bytes({0x26: [("a", "b")]}) == b"\x07\x26\0\1a\0\1b"
