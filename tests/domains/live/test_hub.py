"""The hub queues what is wanted and nothing else, and counts what a slow socket loses."""

import asyncio
import gc
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from fieldstation.core.clock import ManualClock, SystemClock
from fieldstation.domains.live.frames import Frame, wire_form
from fieldstation.domains.live.hub import BATCH_READINGS_MAX, Hub
from fieldstation.domains.live.subscribers import Subscriber
from tests.domains.telemetry.pipeline import ORGANIZATION, Pipeline, pipeline
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

NODE = "node"


def hub_of(running: Pipeline) -> Hub:
    hub = Hub(running.clock, node_id=NODE)
    running.writer.consumers.append(hub.publish)
    return hub


def frames(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(frame.text) for frame in subscriber.frames]


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


async def test_many_readings_come_in_one_message_for_all_who_asked_for_it(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        first, second = wanting(hub, batch_ms=50), wanting(hub, batch_ms=50)
        plain = wanting(hub)
        for n in range(3):
            await running.take({"sensor_type": "t", "value": n})
        assert values(plain) == [0, 1, 2]
        assert frames(first) == []
        await wait_until(lambda: len(first.frames) == 1)
        (batch,) = frames(first)
        assert batch["type"] == "sensor_data_batch"
        assert [reading["value"] for reading in batch["data"]] == [0, 1, 2]
        assert batch["cursor"] == frames(plain)[-1]["cursor"]
        assert second.frames[0].text is first.frames[0].text  # encoded once


async def test_a_batch_is_sent_early_when_it_is_full_and_counts_its_readings(
    tmp_path: Path,
) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        subscriber = wanting(hub, batch_ms=10_000, queue_frames_max=BATCH_READINGS_MAX + 10)
        for first in (0, BATCH_READINGS_MAX):
            await running.take(
                *({"sensor_type": "t", "value": first + n} for n in range(BATCH_READINGS_MAX))
            )
        assert len(subscriber.frames) == 1
        assert (subscriber.waiting, subscriber.dropped) == (BATCH_READINGS_MAX, BATCH_READINGS_MAX)


async def test_who_joins_a_batch_gets_only_what_comes_from_then_on(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        early = wanting(hub, batch_ms=30)
        await running.take({"sensor_type": "t", "value": 1})
        late = wanting(hub, batch_ms=30)
        await running.take({"sensor_type": "t", "value": 2})
        await wait_until(lambda: bool(late.frames))
        assert [r["value"] for frame in frames(late) for r in frame["data"]] == [2]
        assert [r["value"] for frame in frames(early) for r in frame["data"]] == [1, 2]


async def test_a_commit_that_was_never_followed_is_announced_as_a_gap(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        await running.take({"sensor_type": "t", "value": 1})
        subscriber = wanting(hub)
        seen = running.committed[0]
        hub.publish(replace(seen, node_id="other", seq=1))
        hub.publish(replace(seen, node_id="other", seq=3))
        found = frames(subscriber)
        assert [frame["type"] for frame in found] == ["sensor_data", "gap", "sensor_data"]
        assert found[1]["dropped"] is None
        assert "other.3.-1" in found[1]["cursor"]


async def test_a_large_commit_with_many_sockets_leaves_the_loop_to_others(tmp_path: Path) -> None:
    """10,000 readings for 300 sockets are three million frames to hand out.

    Processor time is measured, because other tests run beside this one.
    """
    async with pipeline(tmp_path) as running:
        hub = Hub(SystemClock(), node_id=NODE)
        await running.take(*({"sensor_type": "t", "value": n} for n in range(10_000)))
        committed = running.committed[0]
        crowd = [wanting(hub, queue_frames_max=20_000) for _ in range(300)]
        gc.disable()  # three million frames are a lot to look through, and not what is measured
        began = time.thread_time()
        hub.publish(committed)
        turns = [time.thread_time() - began]
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(hub.run_forever())
            while len(crowd[-1].frames) + len(crowd[0].frames) < 20_000:
                began = time.thread_time()
                await asyncio.sleep(0)
                turns.append(time.thread_time() - began)
            working.cancel()
        gc.enable()
        assert all(values(one)[:3] == [0, 1, 2] for one in crowd[:2])
        assert len(crowd[0].frames) == 10_000
        assert max(turns) < sum(turns) / 20, "the work is done in many small turns"


async def test_a_free_line_is_written_to_at_once_and_a_full_one_queues(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        line = FakeLine()
        subscriber = wanting(hub)
        subscriber.line = line
        await running.take({"sensor_type": "t", "value": 1})
        line.is_free = False
        await running.take({"sensor_type": "t", "value": 2})
        line.is_free = True
        await running.take({"sensor_type": "t", "value": 3})
        assert values(subscriber) == [2, 3], "a frame overtook one that waits"
        (wire,) = line.written
        assert len(wire) == 4 + int.from_bytes(wire[2:4])
        assert json.loads(wire[4:])["data"]["value"] == 1
        assert subscriber.cursor == json.loads(wire[4:])["cursor"]


class FakeLine:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.is_free = True
        self.written: list[bytes] = []

    def write(self, wire: bytes) -> None:
        self.written.append(wire)

    async def drained(self) -> None:
        return


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_are_written_as_the_websocket_library_writes_them(size: int) -> None:
    text = b"x" * size
    expected = WebSocketFrame(Opcode.TEXT, text).serialize(mask=False)
    assert wire_form([Frame(text, "", 1)] * 2) == expected * 2
