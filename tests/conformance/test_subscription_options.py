"""What a subscription of MQTT 5 may ask for."""

import pytest

from tests.conformance.paho_client import properties
from tests.conformance.space import Space


@pytest.mark.parametrize(
    ("handling", "at_first", "again"),
    [(0, True, True), (1, True, False), (2, False, False)],
)
def test_retain_handling(space: Space, handling: int, at_first: bool, again: bool) -> None:
    """MQTT-3.3.1-9, 3.3.1-10, 3.3.1-11."""
    topic = space.topic("a")
    with space.client() as client:
        client.publish(topic, "kept", retain=True)
        for expected in (at_first, again):
            client.subscribe(topic, qos=1, retainHandling=handling)
            if expected:
                assert client.receive(1)[0].retain
            assert client.hears_nothing()
        client.publish(topic, "", retain=True)


@pytest.mark.parametrize("as_published", [False, True])
def test_retain_as_published(space: Space, as_published: bool) -> None:
    """MQTT-3.3.1-12, 3.3.1-13."""
    topic = space.topic("a")
    with space.client() as client:
        client.subscribe(topic, retainAsPublished=as_published)
        client.publish(topic, "1", retain=True)
        client.publish(topic, "2")
        assert [message.retain for message in client.receive(2)] == [as_published, False]
        client.publish(topic, "", retain=True)


def test_no_local(space: Space) -> None:
    """MQTT-3.8.3-3: own messages do not come back, those of others do."""
    topic = space.topic("a")
    with space.client() as one, space.client() as two:
        one.subscribe(topic, noLocal=True)
        two.subscribe(topic)
        one.publish(topic, "mine")
        two.publish(topic, "yours")
        assert two.texts(2) == ["mine", "yours"]
        assert one.texts(1) == ["yours"]
        assert one.hears_nothing()


def test_subscription_identifiers(space: Space) -> None:
    """MQTT-3.3.4-3, 3.3.4-4; replaced with the subscription; the largest there may be."""
    with space.client() as client:
        client.subscribe(space.topic("a"), identifier=1)
        client.subscribe(space.topic("b"), identifier=268_435_455)
        client.subscribe(space.topic("c"))
        client.subscribe(space.topic("a"), identifier=5)
        for name in "abc":
            client.publish(space.topic(name), "x")
        found = [
            getattr(properties(message), "SubscriptionIdentifier", [])
            for message in client.receive(3)
        ]
        assert found == [[5], [268_435_455], []]


def test_retained_messages_carry_the_identifier_too(space: Space) -> None:
    """MQTT-3.3.4-3."""
    topic = space.topic("a")
    with space.client() as client:
        client.publish(topic, "kept", retain=True)
        client.subscribe(topic, identifier=3)
        (message,) = client.receive(1)
        assert properties(message).SubscriptionIdentifier == [3]
        client.publish(topic, "", retain=True)
