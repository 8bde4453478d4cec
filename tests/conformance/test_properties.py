"""What MQTT 5 adds to messages, and the bounds that client and server tell each other."""

import pytest

from tests.adapters.mqtt_server.raw_client import CONNACK, PUBACK, packet
from tests.adapters.mqtt_server.raw_client5 import (
    acknowledge,
    code_of,
    publish5,
    read_connack,
    read_goodbye,
    read_message5,
    subscribe5,
)
from tests.conformance.paho_client import properties
from tests.conformance.space import Space


def test_what_belongs_to_a_message_reaches_its_subscribers_unchanged(space: Space) -> None:
    """MQTT-3.3.2-4, 3.3.2-15 to 3.3.2-20; user properties keep their order (3.3.2-18)."""
    topic = space.topic("a")
    pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("", "")]
    with space.client() as client:
        client.subscribe(topic)
        client.publish(
            topic,
            "x",
            PayloadFormatIndicator=1,
            ContentType="text/plain; charset=ü",
            ResponseTopic=space.topic("answer"),
            CorrelationData=b"\x00\xff",
            UserProperty=pairs,
        )
        found = properties(client.receive(1)[0])
        assert found.PayloadFormatIndicator == 1
        assert found.ContentType == "text/plain; charset=ü"
        assert found.ResponseTopic == space.topic("answer")
        assert found.CorrelationData == b"\x00\xff"
        assert found.UserProperty == pairs


def test_properties_are_kept_with_a_retained_message(space: Space) -> None:
    topic = space.topic("a")
    with space.client() as client:
        client.publish(topic, "x", retain=True, ContentType="t", MessageExpiryInterval=60)
        client.subscribe(topic)
        found = properties(client.receive(1)[0])
        assert (found.ContentType, found.MessageExpiryInterval) == ("t", 60)
        client.publish(topic, "", retain=True)


def test_a_message_for_an_absent_client_grows_older_and_expires(space: Space) -> None:
    """MQTT-3.3.2-5, 3.3.2-6."""
    session = {"client_id": space.name("c"), "clean": False, "SessionExpiryInterval": 300}
    with space.client(**session) as client:
        client.subscribe(space.topic("#"))
    with space.client() as other, space.client() as clock:
        other.publish(space.topic("long"), "long", MessageExpiryInterval=100)
        other.publish(space.topic("short"), "short", MessageExpiryInterval=1)
        clock.publish(space.topic("kept"), "x", retain=True, MessageExpiryInterval=1)
        clock.keep_asking_until_gone(space.topic("kept"))
    with space.client(**session) as client:
        (message,) = client.receive(1)
        assert message.payload == b"long"
        assert 90 < properties(message).MessageExpiryInterval < 100
        assert client.hears_nothing()


def test_a_client_shortens_topics_by_aliases(space: Space) -> None:
    """MQTT-3.3.2-7 to 3.3.2-12; an alias may be given to another topic."""
    with space.client() as client:
        client.subscribe(space.topic("#"))
        client.publish(space.topic("a"), "1", TopicAlias=32)
        client.publish("", "2", TopicAlias=32)
        client.publish(space.topic("b"), "3", TopicAlias=32)
        client.publish("", "4", TopicAlias=32)
        topics = [message.topic.removeprefix(space.topic("")) for message in client.receive(4)]
        assert topics == ["a", "a", "b", "b"]


def test_the_server_shortens_topics_for_clients_that_take_aliases(space: Space) -> None:
    """MQTT-3.1.2-26, 3.1.2-27, 3.3.2-8: not more than the client takes, none without."""
    with space.client(TopicAliasMaximum=1) as client, space.client() as plain:
        for each in (client, plain):
            each.subscribe(space.topic("#"))
        for name in "aab":
            plain.publish(space.topic(name), name)
        found = [
            (message.topic, getattr(properties(message), "TopicAlias", None))
            for message in client.receive(3)
        ]
        assert found == [(space.topic("a"), 1), ("", 1), (space.topic("b"), None)]
        assert not any(hasattr(properties(m), "TopicAlias") for m in plain.receive(3))


@pytest.mark.anyio
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_client_gets_no_more_at_once_than_it_takes(space: Space, qos: int) -> None:
    """MQTT-3.3.4-9, 4.9.0-1, 4.9.0-2; QoS 0 flows on."""
    topic = space.topic("a")
    with space.client() as other:
        async with space.raw() as client:
            client.send(space.connect_bytes(5, properties={0x21: 2}), subscribe5((topic, qos)))
            assert [(await client.read()).first for _ in range(2)] == [CONNACK, 0x90]
            for payload in "1234":
                other.publish(topic, payload, qos)
            first = [read_message5(await client.read()) for _ in range(2)]
            await client.ping()
            if qos == 1:
                client.send(acknowledge(PUBACK, first[0].packet_id))
            else:
                client.send(acknowledge(0x50, first[0].packet_id))
                assert (await client.read()).first == 0x62
                await client.ping()
                client.send(acknowledge(0x70, first[0].packet_id))
            assert read_message5(await client.read()).payload == b"3"
            await client.ping()


@pytest.mark.anyio
async def test_a_client_that_has_too_many_under_way_is_closed(space: Space) -> None:
    """MQTT-3.3.4-7, 3.3.4-8 and reason code 0x93: QoS 2 counts until PUBCOMP."""
    async with space.raw() as client:
        client.send(space.connect_bytes(5))
        most = (await read_connack(client)).properties[0x21]
        assert isinstance(most, int)
        frames = [publish5(space.topic("a"), packet_id=n, qos=2) for n in range(1, most + 2)]
        client.send(*frames)
        for packet_id in range(1, most + 1):
            assert code_of(await client.read(), 0x50) == (packet_id, 0)
        assert await read_goodbye(client) == 0x93


def test_a_message_that_is_larger_than_a_client_takes_is_left_out_for_it(space: Space) -> None:
    """MQTT-3.1.2-24, 3.1.2-25."""
    topic = space.topic("a")
    with space.client(MaximumPacketSize=100) as small, space.client() as large:
        for each in (small, large):
            each.subscribe(topic)
        large.publish(topic, "x" * 100)
        large.publish(topic, "y")
        assert large.texts(2) == ["x" * 100, "y"]
        assert small.texts(1) == ["y"]
        assert small.hears_nothing()


@pytest.mark.anyio
@pytest.mark.parametrize("wanted", [0, 1])
async def test_only_connack_and_disconnect_explain_themselves(space: Space, wanted: int) -> None:
    """MQTT-3.1.2-29: Request Problem Information; acknowledgements never carry a text."""
    async with space.raw() as client:
        client.send(space.connect_bytes(5, properties={0x17: wanted}))
        assert (await read_connack(client)).code == 0
        client.send(publish5("$SYS/x", packet_id=1))
        received = await client.read()
        assert (received.first, received.body) == (PUBACK, b"\0\1\x87")
        client.send(packet(0xF0, b""))
        assert await read_goodbye(client) == 0x82
