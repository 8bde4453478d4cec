"""Shared subscriptions: each message to one of a group, within its organization."""

from collections import Counter

import pytest

from fieldstation.adapters.mqtt_server.shared import SharedGroup
from tests.adapters.mqtt_server.raw_client import connected, puback_bytes, publish_bytes
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


async def test_members_take_turns_and_everybody_else_gets_everything() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected(server, "one") as one,
        connected(server, "two") as two,
        connected(server, "all") as everything,
        connected(server, "foreign", username="bob@org-b") as foreign,
    ):
        for member in (one, two, foreign):
            assert await member.subscribe(("$share/g/a/+", 1)) == b"\1"
        await everything.subscribe(("a/#", 0), ("$share/other/a/#", 0))
        for number in range(4):
            server.publish("org-a", "a/b", b"%d" % number, qos=1)
        got = Counter[str]()
        for name, member in (("one", one), ("two", two)):
            for _ in range(2):
                message = await member.read_message()
                got[name + message.payload.decode()] += 1
        assert sorted(key[-1] for key in got) == ["0", "1", "2", "3"]
        payloads = [(await everything.read_message()).payload for _ in range(8)]
        assert Counter(payloads) == {b"%d" % number: 2 for number in range(4)}
        await foreign.ping()


async def test_absent_members_are_passed_over_until_nobody_is_there() -> None:
    async with serving(MemoryStation()) as server:
        async with connected(server, "away", clean=False) as away:
            await away.subscribe(("$share/g/a", 1))
        async with connected(server, "there") as there:
            await there.subscribe(("$share/g/a", 1))
            await wait_until(lambda: server.counters.connections == 1)
            for number in range(3):
                server.publish("org-a", "a", b"%d" % number, qos=1)
            got = [await there.read_message() for _ in range(3)]
            assert [message.payload for message in got] == [b"0", b"1", b"2"]
            there.send(*(puback_bytes(message.packet_id) for message in got))
            await there.ping()
        await wait_until(lambda: server.counters.connections == 0)
        assert server.publish("org-a", "a", b"kept", qos=1) == 1
        async with connected(server, "away", clean=False, present=True) as away:
            assert (await away.read_message()).payload == b"kept"


async def test_retained_messages_do_not_come_and_leaving_ends_the_share() -> None:
    async with serving(MemoryStation()) as server, connected(server) as client:
        client.send(publish_bytes("a", b"kept", packet_id=1, retain=True))
        assert await client.read_pubacks(1) == [1]
        assert await client.subscribe(("$share/g/a", 1)) == b"\1"
        await client.ping()
        async with connected(server, "other") as other:
            await other.subscribe(("$share/g/a", 1))
        await wait_until(lambda: server.counters.connections == 1)
        assert server.publish("org-a", "a", b"1", qos=1) == 1
        assert (await client.read_message()).payload == b"1"


async def test_a_device_shares_only_what_it_may_hear() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected(server, username="device:d1") as device,
    ):
        assert await device.subscribe(("$share/g/devices/d1/commands", 1)) == b"\1"
        assert await device.subscribe(("$share/g/devices/d2/commands", 1)) == b"\x80"
        assert await device.subscribe(("$share/g/#", 1)) == b"\x80"


def test_it_is_nobody_s_turn_when_all_members_left() -> None:
    assert SharedGroup().next() is None
