"""Matching filters: a trie that agrees with the definition of MQTT 3.1.1, section 4.7."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.topics import (
    RetainedTree,
    SubscriptionTree,
    filter_fault,
)

LEVELS = ["a", "b", "", "$s"]
topics = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(st.sampled_from([*LEVELS, "+"]), max_size=4), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join([*parts[0], *parts[1]]))
    .filter(bool)
)


def matches(topic_filter: str, topic: str) -> bool:
    """Say whether a filter matches, straight from the text of the standard."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        if len(levels) < len(wanted):
            return False
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        want in {"+", level} for want, level in zip(wanted, levels, strict=True)
    )


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "sport/tennis", True),
        ("#", "/", True),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$SYS/+", "$SYS/uptime", True),
        ("a", "A", False),
    ],
)
def test_the_examples_of_the_standard_hold(
    topic_filter: str, topic: str, *, expected: bool
) -> None:
    assert matches(topic_filter, topic) == expected
    tree: SubscriptionTree[str, int] = SubscriptionTree(max)
    tree.add("me", topic_filter, 1)
    assert tree.match(topic) == ({"me": 1} if expected else {})


@given(st.lists(st.tuples(st.integers(0, 3), filters, st.integers(0, 1)), max_size=12), topics)
@settings(max_examples=400, deadline=None)
def test_a_subscriber_is_found_once_with_its_highest_qos(
    subscriptions: list[tuple[int, str, int]], topic: str
) -> None:
    tree: SubscriptionTree[int, int] = SubscriptionTree(max)
    latest: dict[tuple[int, str], int] = {}
    for subscriber, topic_filter, qos in subscriptions:
        tree.add(subscriber, topic_filter, qos)
        latest[subscriber, topic_filter] = qos
    expected: dict[int, int] = {}
    for (subscriber, topic_filter), qos in latest.items():
        if matches(topic_filter, topic):
            expected[subscriber] = max(qos, expected.get(subscriber, 0))
    assert tree.match(topic) == expected
    assert len(tree) == len(latest)


@given(st.lists(st.tuples(st.booleans(), filters), max_size=30), topics)
@settings(max_examples=300, deadline=None)
def test_what_is_unsubscribed_leaves_nothing_behind(
    changes: list[tuple[bool, str]], topic: str
) -> None:
    tree: SubscriptionTree[str, int] = SubscriptionTree(max)
    left: set[str] = set()
    for adds, topic_filter in changes:
        if adds:
            tree.add("me", topic_filter, 0)
            left.add(topic_filter)
        else:
            tree.remove("me", topic_filter)
            left.discard(topic_filter)
    assert bool(tree.match(topic)) == any(matches(topic_filter, topic) for topic_filter in left)
    for topic_filter in left:
        tree.remove("me", topic_filter)
    assert len(tree) == 0
    assert not tree._root.children  # noqa: SLF001 - a leak is visible nowhere else


@given(st.lists(st.tuples(topics, st.booleans()), max_size=20), filters)
@settings(max_examples=300, deadline=None)
def test_retained_messages_are_found_by_filter(
    changes: list[tuple[str, bool]], topic_filter: str
) -> None:
    tree: RetainedTree[str] = RetainedTree()
    kept: set[str] = set()
    for topic, keeps in changes:
        tree.put(topic, topic if keeps else None)
        (kept.add if keeps else kept.discard)(topic)
        assert tree.get(topic) == (topic if keeps else None)
    found = tree.match(topic_filter)
    assert len(found) == len(set(found))
    assert set(found) == {topic for topic in kept if matches(topic_filter, topic)}
    for topic in kept:
        tree.put(topic, None)
    assert not tree._root.children  # noqa: SLF001 - a leak is visible nowhere else


def test_a_filter_is_measured_with_its_group() -> None:
    limits = PacketLimits(topic_bytes_max=64)
    assert filter_fault("$share/" + "g" * 55 + "/a", limits) is None
    assert filter_fault("$share/" + "g" * 56 + "/a", limits) is not None
    assert filter_fault("$share/g/" + "a" * 56, limits) is not None
