"""Publishing and subscribing, as both versions have it."""

import pytest

from tests.conformance.doors import DOORS, VERSIONS
from tests.conformance.paho_client import properties
from tests.conformance.space import Space


@DOORS
@pytest.mark.parametrize(
    ("published", "granted"), [(p, g) for p in range(3) for g in range(3)], ids=str
)
def test_a_message_comes_with_the_lower_quality_of_service(
    space: Space, version: int, transport: str, published: int, granted: int
) -> None:
    """MQTT-3.8.4-8 (5), 3.8.4-6 (3.1.1), 4.3.1-1, 4.3.2-2, 4.3.3-2."""
    topic = space.topic("a")
    with space.client(version, transport) as client:
        assert client.subscribe(topic, qos=granted) == [granted]
        assert client.publish(topic, "x", published) == 0
        (message,) = client.receive(1)
        assert (message.topic, message.payload, message.qos) == (
            topic,
            b"x",
            min(published, granted),
        )
        assert (message.retain, message.dup) == (False, False)
        assert client.hears_nothing()


@DOORS
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_384, 1_000_000])
def test_payloads_of_any_size_come_back(
    space: Space, version: int, transport: str, size: int
) -> None:
    with space.client(version, transport) as client:
        client.subscribe(space.topic("a"))
        payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        client.publish(space.topic("a"), payload, 1)
        assert client.receive(1)[0].payload == payload


@VERSIONS
def test_messages_keep_their_order(space: Space, version: int) -> None:
    """MQTT-4.6.0-5, 4.6.0-6."""
    with space.client(version) as client:
        for qos in range(3):
            client.subscribe(space.topic(str(qos)))
        for number in range(60):
            client.publish(space.topic(str(number // 20)), str(number), number // 20)
        assert client.texts(60) == [str(number) for number in range(60)]


@VERSIONS
@pytest.mark.parametrize(
    ("topic_filter", "topics"),
    [
        ("+/b", ["a/b", "/b"]),
        ("a/+", ["a/b", "a/"]),
        ("a/#", ["a", "a/b", "a/", "a/b/c"]),
        ("#", ["a", "a/b", "/b", "a/", "a/b/c", "/"]),
        ("+", ["a"]),
        ("+/+", ["a/b", "/b", "a/", "/"]),
        ("/+", ["/b", "/"]),
        ("+/b/#", ["a/b", "/b", "a/b/c"]),
        ("a/b", ["a/b"]),
        ("A/b", []),
    ],
)
def test_wildcards(space: Space, version: int, topic_filter: str, topics: list[str]) -> None:
    """MQTT-4.7.1-1, 4.7.1-2, 4.7.3-4."""
    published = ["a", "a/b", "/b", "a/", "a/b/c", "/"]
    with space.client(version) as client:
        client.subscribe(space.topic(topic_filter))
        for topic in published:
            client.publish(space.topic(topic), "x")
        got = [message.topic for message in client.receive(len(topics))]
        assert got == [space.topic(topic) for topic in published if topic in topics]
        assert client.hears_nothing()


@VERSIONS
def test_wildcards_do_not_match_topics_with_a_dollar(space: Space, version: int) -> None:
    """MQTT-4.7.2-1."""
    name = space.name("x")
    with space.client(version) as client:
        client.subscribe("#", f"+/{name}")
        assert client.publish(f"${name}/{name}", "x") == 0
        assert client.hears_nothing()
        client.subscribe(f"${name}/#")
        client.publish(f"${name}/{name}", "y")
        assert client.texts(1) == ["y"]


@VERSIONS
def test_overlapping_subscriptions(space: Space, version: int) -> None:
    """MQTT-3.3.5-1 (3.1.1), 3.3.4-2 (5): once, with the highest quality of service."""
    with space.client(version) as client:
        client.subscribe(space.topic("#"), qos=2, **({"identifier": 7} if version == 5 else {}))
        client.subscribe(space.topic("+"), qos=1, **({"identifier": 9} if version == 5 else {}))
        client.publish(space.topic("a"), "x", 2)
        (message,) = client.receive(1)
        assert message.qos == 2
        if version == 5:
            assert sorted(properties(message).SubscriptionIdentifier) == [7, 9]
        assert client.hears_nothing()


@VERSIONS
def test_a_subscription_to_the_same_filter_replaces_the_first(space: Space, version: int) -> None:
    """MQTT-3.8.4-3."""
    topic = space.topic("a")
    with space.client(version) as client:
        client.publish(topic, "kept", retain=True)
        assert client.subscribe(topic, qos=2) == [2]
        assert client.subscribe(topic, qos=0) == [0]
        got = client.receive(2)
        assert [(m.payload, m.qos, m.retain) for m in got] == [
            (b"kept", 1, True),
            (b"kept", 0, True),
        ]
        client.publish(topic, "x", 2)
        assert client.receive(1)[0].qos == 0
        client.publish(topic, "", retain=True)


@VERSIONS
def test_unsubscribing_ends_what_comes(space: Space, version: int) -> None:
    """MQTT-3.10.4-1, 3.10.4-2, 3.10.4-4, 3.10.4-5; codes 0x00 and 0x11."""
    with space.client(version) as client:
        client.subscribe(space.topic("a"), space.topic("b"))
        codes = client.unsubscribe(space.topic("a"), space.topic("c"))
        assert codes == ([0, 0x11] if version == 5 else codes)
        client.publish(space.topic("a"), "x")
        client.publish(space.topic("b"), "y")
        assert client.texts(1) == ["y"]


@DOORS
def test_retained_messages(space: Space, version: int, transport: str) -> None:
    """MQTT-3.3.1-5 to 3.3.1-12: kept, replaced, emptied; flagged for new subscriptions only."""
    topic = space.topic("a")
    with space.client(version, transport) as client:
        client.subscribe(topic)
        for payload in ("1", "2"):
            client.publish(topic, payload, 2, retain=True)
        client.publish(topic, "live")
        assert [(m.payload, m.retain) for m in client.receive(3)] == [
            (b"1", False),
            (b"2", False),
            (b"live", False),
        ]
        with space.client(version, transport) as later:
            later.subscribe(space.topic("+"), qos=1)
            assert [(m.payload, m.retain, m.qos) for m in later.receive(1)] == [(b"2", True, 1)]
            client.publish(topic, "", retain=True)
            assert [(m.payload, m.retain) for m in later.receive(1)] == [(b"", False)]
        client.receive(1)
        with space.client(version, transport) as last:
            last.subscribe(topic)
            assert last.hears_nothing()


@VERSIONS
def test_sys_topics_are_for_users_and_nobody_publishes_them(space: Space, version: int) -> None:
    with space.client(version) as client:
        client.subscribe("$SYS/#")
        found = {message.topic for message in client.receive(5)}
        assert "$SYS/broker/clients/connected" in found
        code = client.publish("$SYS/broker/uptime", "forever")
        assert code == (0x87 if version == 5 else -1)
        assert (client.closed_with is None) == (version == 5)
