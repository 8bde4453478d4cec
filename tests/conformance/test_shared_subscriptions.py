"""Shared subscriptions: each message goes to one client of a group."""

from collections import Counter

from tests.conformance.doors import VERSIONS
from tests.conformance.space import Space


@VERSIONS
def test_messages_are_divided_among_a_group(space: Space, version: int) -> None:
    """MQTT-4.8.2-4: to one of them; others get everything."""
    topic, shared = space.topic("a"), f"$share/{space.name('g')}/{space.topic('a')}"
    with (
        space.client(version) as one,
        space.client(version) as two,
        space.client(version) as everything,
    ):
        for member in (one, two):
            assert member.subscribe(shared, qos=1) == [1]
        everything.subscribe(topic)
        for number in range(10):
            everything.publish(topic, str(number), 2)
        assert everything.texts(10) == [str(number) for number in range(10)]
        got = Counter(one.texts(5) + two.texts(5))
        assert got == Counter(str(number) for number in range(10))
        assert one.hears_nothing()
        assert two.hears_nothing()


@VERSIONS
def test_each_member_has_its_own_quality_of_service(space: Space, version: int) -> None:
    """MQTT-4.8.2-3."""
    topic, shared = space.topic("a"), f"$share/{space.name('g')}/{space.topic('a')}"
    with space.client(version) as one, space.client(version) as two:
        one.subscribe(shared, qos=0)
        two.subscribe(shared, qos=2)
        for number in range(4):
            one.publish(topic, str(number), 2)
        assert [message.qos for message in one.receive(2)] == [0, 0]
        assert [message.qos for message in two.receive(2)] == [2, 2]


@VERSIONS
def test_two_groups_and_a_subscription_of_one_client_are_apart(space: Space, version: int) -> None:
    topic = space.topic("a")
    with space.client(version) as client:
        client.subscribe(*(f"$share/{space.name(name)}/{topic}" for name in "gh"), topic)
        client.publish(topic, "x")
        assert client.texts(3) == ["x"] * 3
        assert client.hears_nothing()


@VERSIONS
def test_a_group_gets_no_retained_messages(space: Space, version: int) -> None:
    """MQTT-3.8.4-4: no retained message for a shared subscription."""
    topic = space.topic("a")
    with space.client(version) as client:
        client.publish(topic, "kept", retain=True)
        client.subscribe(f"$share/{space.name('g')}/{topic}")
        assert client.hears_nothing()
        client.publish(topic, "", retain=True)


@VERSIONS
def test_a_member_that_left_gets_nothing_more(space: Space, version: int) -> None:
    topic, shared = space.topic("a"), f"$share/{space.name('g')}/{space.topic('a')}"
    with space.client(version) as stays:
        stays.subscribe(shared)
        with space.client(version) as unsubscribes, space.client(version) as goes:
            unsubscribes.subscribe(shared)
            goes.subscribe(shared)
            unsubscribes.unsubscribe(shared)
            goes.cut()
            for number in range(4):
                unsubscribes.publish(topic, str(number))
            assert stays.texts(4) == ["0", "1", "2", "3"]
            assert unsubscribes.hears_nothing()
