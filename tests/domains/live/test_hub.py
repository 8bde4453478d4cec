"""The hub queues what is wanted and nothing else, and counts what a slow socket loses."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fieldstation.core.clock import ManualClock
from fieldstation.domains.live.hub import Hub, Subscriber
from tests.domains.telemetry.pipeline import ORGANIZATION, Pipeline, pipeline

pytestmark = pytest.mark.anyio

NODE = "node"


def hub_of(running: Pipeline) -> Hub:
    hub = Hub(running.clock, node_id=NODE)
    running.writer.consumers.append(hub.publish)
    return hub


def frames(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in subscriber.frames]


def values(subscriber: Subscriber) -> list[Any]:
    return [frame["data"]["value"] for frame in frames(subscriber)]


def wanting(hub: Hub, organization: str = ORGANIZATION, **wishes: Any) -> Subscriber:
    subscriber = Subscriber(organization, wishes.pop("queue_frames_max", 100), **wishes)
    hub.subscribe(subscriber)
    return subscriber


async def test_each_subscriber_gets_what_it_wants(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        everything = wanting(hub)
        one_device = wanting(hub, device_ids=frozenset({"d1"}))
        one_type = wanting(hub, sensor_types=frozenset({"a"}))
        both = wanting(hub, device_ids=frozenset({"d1"}), sensor_types=frozenset({"a"}))
        stranger = wanting(hub, "somebody else")
        for n, (device, sensor_type) in enumerate([("d1", "a"), ("d1", "b"), ("d2", "a")]):
            await running.take({"sensor_type": sensor_type, "value": n}, device=device)
        assert values(everything) == [0, 1, 2]
        assert values(one_device) == [0, 1]
        assert values(one_type) == [0, 2]
        assert values(both) == [0]
        assert values(stranger) == []
        assert len(hub) == 5


async def test_a_frame_says_what_came_and_where_it_stands(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        hub.begin_at({"other": 4})
        subscriber = wanting(hub)
        await running.take(
            {"sensor_type": "t", "value": "open", "unit": "V", "metadata": {"a": 1}},
            {"sensor_type": "t", "value": 2},
        )
        first, second = frames(subscriber)
        assert first["type"] == "sensor_data"
        assert first["timestamp"].endswith("Z")
        assert first["data"]["metadata"] == {"a": 1}
        assert (first["data"]["value"], first["data"]["unit"]) == ("open", "V")
        assert set(first["cursor"].split("~")) == {"node.1.0", "other.4.-1"}
        assert "node.1.1" in second["cursor"]
        assert set(hub.cursor.text().split("~")) == {"node.1.-1", "other.4.-1"}


async def test_only_what_was_stored_is_shown(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        subscriber = wanting(hub_of(running))
        one = {"sensor_type": "t", "value": 1, "timestamp": 1_777_636_800}
        await running.take(one, {**one, "value": 2}, one, {"sensor_type": "t", "value": 3})
        await running.take(one)
        assert values(subscriber) == [1, 3]
        cursors = [frame["cursor"] for frame in frames(subscriber)]
        assert cursors == ["node.1.0", "node.1.1"]


async def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        slow, fast = wanting(hub, queue_frames_max=2), wanting(hub)
        await running.take(*({"sensor_type": "t", "value": n} for n in range(5)))
        assert values(slow) == [0, 1]
        assert slow.dropped == 3
        assert values(fast) == [0, 1, 2, 3, 4]


async def test_who_left_gets_nothing_more(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        subscriber = wanting(hub)
        hub.unsubscribe(subscriber)
        hub.unsubscribe(subscriber)
        await running.take({"sensor_type": "t", "value": 1})
        assert (values(subscriber), len(hub)) == ([], 0)
        assert hub.cursor.text() == "node.1.-1"


def test_a_hub_begins_where_the_log_stands() -> None:
    hub = Hub(ManualClock(datetime(2026, 5, 1, tzinfo=UTC)), node_id=NODE)
    assert hub.cursor.text() == "node.0.-1"
    hub.begin_at({NODE: 9, "other": 2})
    assert set(hub.cursor.text().split("~")) == {"node.9.-1", "other.2.-1"}
