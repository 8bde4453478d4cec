"""No packet of the server is larger than what an MQTT 5 client takes (MQTT-3.1.2-24)."""

import pytest

from fieldstation.adapters.mqtt_server.packets import Reason
from tests.adapters.mqtt_server.raw_client import CONNACK, packet, raw_client, text
from tests.adapters.mqtt_server.raw_client5 import (
    connect5,
    connected5,
    read_connack,
    read_goodbye,
    read_message5,
    subscribe5,
    subscribe_5,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("bytes_max", "answer"), [(4, b""), (5, b"\x20\x03\0\x86\0")])
async def test_a_refusal_leaves_out_its_text_and_at_last_itself(
    bytes_max: int, answer: bytes
) -> None:
    async with serving(MemoryStation()) as server, raw_client(server) as client:
        client.send(connect5(password="wrong", properties={0x27: max(bytes_max, 21)}))
        assert await client.read_to_end() == b"\x20\x03\0\x86\0"
    async with serving(MemoryStation()) as server, raw_client(server) as client:
        client.send(connect5(properties={0x27: bytes_max}))
        expected = answer.replace(b"\x86", bytes((Reason.PACKET_TOO_LARGE,)))
        assert await client.read_to_end() == expected


@pytest.mark.parametrize(("client_id", "bytes_max"), [("c1", 21), ("", 60)])
async def test_the_longest_welcome_fits_exactly(client_id: str, bytes_max: int) -> None:
    async with serving(MemoryStation(), session_expiry_s=60) as server:
        for less in (1, 0):
            async with raw_client(server) as client:
                client.send(connect5(client_id, properties={0x27: bytes_max - less, 0x11: 3_600}))
                if less:
                    assert (await read_connack(client)).code == Reason.PACKET_TOO_LARGE
                else:
                    received = await client.read()
                    assert received.first == CONNACK
                    assert len(received.body) == bytes_max - 2


@pytest.mark.parametrize("unsubscribes", [False, True])
async def test_an_answer_that_does_not_fit_ends_the_connection(unsubscribes: bool) -> None:
    filters = [f"a/{number}" for number in range(40)]
    async with (
        serving(MemoryStation()) as server,
        connected5(server, properties={0x27: 40}) as client,
    ):
        if unsubscribes:
            client.send(packet(0xA2, b"\0\7\0" + b"".join(map(text, filters))))
        else:
            client.send(subscribe5(*((each, 0) for each in filters)))
        assert await read_goodbye(client) == Reason.PACKET_TOO_LARGE


async def test_a_message_that_fits_only_without_an_alias_comes_without() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected5(server, properties={0x27: 40, 0x22: 5}) as client,
    ):
        await subscribe_5(client, ("#", 0))
        for payload in (b"x" * 34, b"y" * 30, b"z" * 34):
            server.publish("org-a", "a", payload, qos=0)
        got = [read_message5(await client.read()) for _ in range(3)]
        assert [(each.topic, each.payload[:1]) for each in got] == [
            ("a", b"x"),
            ("a", b"y"),
            ("a", b"z"),
        ]
        assert [each.properties for each in got] == [(), ((0x23, 1),), ()]


async def test_a_good_bye_leaves_out_its_text() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected5(server, properties={0x27: 21}) as client,
    ):
        client.send(packet(0xF0, b""))
        received = await client.read()
        assert received == (0xE0, bytes((Reason.PROTOCOL_ERROR, 0)))
