"""The receipt of a connection: what it lets through, in which order, and what it will not."""

import pytest

from fieldstation.adapters.mqtt_server.acknowledge import Acknowledger
from fieldstation.adapters.mqtt_server.keeper import Keeper
from fieldstation.adapters.mqtt_server.options import (
    MqttCounters,
    MqttServerOptions,
    SpaceLimits,
)
from fieldstation.adapters.mqtt_server.packets import Publish
from fieldstation.adapters.mqtt_server.space import TopicSpace
from fieldstation.core.clock import SystemClock
from tests.adapters.mqtt_server.station import MemoryStation


def make_acknowledger() -> tuple[Acknowledger, list[int]]:
    acknowledged: list[int] = []
    counters = MqttCounters()
    acknowledger = Acknowledger(
        "org-a",
        TopicSpace(SpaceLimits(match_cache_entries_max=2), counters, SystemClock()),
        Keeper(MemoryStation(), MqttServerOptions(), counters),
        acknowledge=acknowledged.extend,
        abandon=lambda _: acknowledged.clear(),
    )
    return acknowledger, acknowledged


def message(packet_id: int, *, retain: bool = False) -> Publish:
    return Publish("a", b"1", packet_id, min(packet_id, 1), retain)


def test_a_station_that_settles_more_than_it_took_is_told_so() -> None:
    acknowledger, acknowledged = make_acknowledger()
    acknowledger.taken(message(1))
    with pytest.raises(ValueError, match="1 more messages were settled than taken"):
        acknowledger.settle(2)
    assert acknowledged == []


def test_after_a_failure_the_next_messages_are_counted_from_there() -> None:
    acknowledger, acknowledged = make_acknowledger()
    acknowledger.taken(message(1))
    acknowledger.passed(message(2))
    acknowledger.fail(1)
    assert len(acknowledger) == 0
    acknowledger.taken(message(3))
    acknowledger.settle(1)
    assert acknowledged == [3]


def test_messages_behind_an_unsaved_one_wait_and_qos_0_has_no_acknowledgement() -> None:
    acknowledger, acknowledged = make_acknowledger()
    for packet in (message(1), message(2, retain=True), message(0), message(3)):
        acknowledger.taken(packet)
    acknowledger.settle(3)
    assert acknowledged == [1]
    acknowledger.settle(1)
    acknowledger.passed(message(4, retain=True))
    acknowledger.passed(message(5))
    assert acknowledged == [1]
    acknowledger.saved(1)
    assert acknowledged == [1, 2, 3]
    acknowledger.saved(1)
    assert acknowledged == [1, 2, 3, 4, 5]
    assert len(acknowledger) == 0


def test_a_failed_group_leaves_the_messages_of_later_groups_to_theirs() -> None:
    acknowledger, acknowledged = make_acknowledger()
    for packet_id in (1, 2, 3):
        acknowledger.taken(message(packet_id))
    acknowledger.fail(2)
    acknowledger.settle(1)
    assert acknowledged == [3]
    assert len(acknowledger) == 0


def test_what_waits_behind_unsettled_messages_is_bounded() -> None:
    acknowledger, acknowledged = make_acknowledger()
    acknowledger.taken(message(1))
    woken: list[bool] = []
    acknowledger.when_ready(lambda: woken.append(True))
    while not acknowledger.is_crowded(5_000):
        acknowledger.passed(message(2))
    assert len(acknowledger) < 30
    acknowledger.settle(1)
    assert woken == [True]
    assert not acknowledger.is_crowded(1)
    assert acknowledged[:2] == [1, 2]
