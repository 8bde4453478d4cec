"""Resuming from any frame goes on with exactly the next one, whatever is stored meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstation.core.clock import instant_to_us
from fieldstation.domains.live.backfill import resume
from fieldstation.domains.live.cursor import parse_cursor
from fieldstation.domains.live.frames import Frame
from fieldstation.domains.live.hub import Hub
from fieldstation.domains.live.subscribers import Subscriber
from tests.domains.telemetry.pipeline import ORGANIZATION, START, Pipeline, pipeline

pytestmark = pytest.mark.anyio

NODE = "node"
READINGS_MAX = 1_000
BATCHES = st.lists(st.integers(1, 4), min_size=1, max_size=6)


def hub_of(running: Pipeline) -> Hub:
    hub = Hub(running.clock, node_id=NODE)
    running.writer.consumers.append(hub.publish)
    return hub


def resumed(
    running: Pipeline,
    hub: Hub,
    cursor: str,
    subscriber: Subscriber,
    *,
    readings_max: int = READINGS_MAX,
) -> AsyncIterator[Frame]:
    since = parse_cursor(cursor, node_id=NODE)
    return resume(hub, running.store, subscriber, since, readings_max=readings_max)


async def replayed(
    running: Pipeline,
    hub: Hub,
    cursor: str,
    subscriber: Subscriber,
    *,
    readings_max: int = READINGS_MAX,
) -> list[dict[str, Any]]:
    frames = resumed(running, hub, cursor, subscriber, readings_max=readings_max)
    return [json.loads(frame.text) async for frame in frames]


async def send(running: Pipeline, first: int, count: int) -> None:
    await running.take(*({"sensor_type": "t", "value": first + n} for n in range(count)))


@given(before=BATCHES, after=BATCHES, data=st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_resuming_from_any_frame_loses_and_repeats_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[int],
    after: list[int],
    data: st.DataObject,
) -> None:
    async with pipeline(tmp_path_factory.mktemp("resume")) as running:
        hub = hub_of(running)
        live = Subscriber(ORGANIZATION, 1_000)
        hub.subscribe(live)
        start, sent = hub.cursor.text(), 0
        for count in before:
            await send(running, sent, count)
            sent += count
        cursors = [start, *(json.loads(frame.text)["cursor"] for frame in live.frames)]
        seen = data.draw(st.integers(0, sent), label="frames seen before the socket broke")
        again = Subscriber(ORGANIZATION, 1_000)

        async def go_on_sending() -> None:
            first = sent
            for count in after:
                await send(running, first, count)
                first += count

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(go_on_sending(), name="sending")
            found = await replayed(running, hub, cursors[seen], again)
        found += [json.loads(frame.text) for frame in again.frames]
        assert [frame["data"]["value"] for frame in found] == list(range(seen, sent + sum(after)))
        told = [json.loads(frame.text) for frame in live.frames]
        assert [frame["cursor"] for frame in found] == [frame["cursor"] for frame in told[seen:]]
        assert [frame["data"] for frame in found] == [frame["data"] for frame in told[seen:]]


async def test_a_replay_holds_what_is_wanted_and_only_the_own_organization(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        for n, name in enumerate("abab"):
            await running.take({"sensor_type": name, "value": n})
            await running.take(
                {"sensor_type": name, "value": 99}, device="x", organization="somebody else"
            )
        picky = Subscriber(ORGANIZATION, 10, sensor_types=frozenset({"b"}))
        found = await replayed(running, hub, "node.0.-1", picky)
        assert [frame["data"]["value"] for frame in found] == [1, 3]


async def test_what_the_log_no_longer_has_is_announced_as_a_gap(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        for n in range(6):
            await send(running, n, 1)
            running.clock.advance(10)
        await running.store.flush()
        await running.store.trim_log(before_us=instant_to_us(START) + 35_000_000)
        first, *rest = await replayed(running, hub, "node.1.-1", Subscriber(ORGANIZATION, 10))
        assert (first["type"], first["cursor"]) == ("gap", "node.4.-1")
        assert [frame["data"]["value"] for frame in rest] == [4, 5]
        edge = await replayed(running, hub, "node.4.-1", Subscriber(ORGANIZATION, 10))
        assert [frame["type"] for frame in edge] == ["sensor_data"] * 2
        for unseen in ("node.4.0", "node.0.-1", "ghost.0.-1", "ghost.0.0"):
            found = await replayed(running, hub, unseen, Subscriber(ORGANIZATION, 10))
            assert [frame["type"] for frame in found] == ["gap", *["sensor_data"] * 2], unseen


async def test_a_cursor_ahead_of_the_log_is_announced_as_a_gap(tmp_path: Path) -> None:
    """After a restored backup the log is behind what clients have seen: they must be told."""
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        await send(running, 0, 1)
        found = await replayed(running, hub, "node.50.-1", Subscriber(ORGANIZATION, 10))
        assert [frame["type"] for frame in found][:1] == ["gap"]


async def test_nothing_new_is_nothing_to_replay(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        await send(running, 0, 3)
        subscriber = Subscriber(ORGANIZATION, 10)
        assert await replayed(running, hub, hub.cursor.text(), subscriber) == []
        await send(running, 3, 1)
        assert len(subscriber.frames) == 1


async def test_a_resuming_socket_has_so_much_of_the_log_read_and_is_told_of_the_rest(
    tmp_path: Path,
) -> None:
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        for n in range(40):
            await send(running, n, 1)
        everything = await replayed(
            running, hub, "node.0.-1", Subscriber(ORGANIZATION, 10), readings_max=40
        )
        assert [frame["data"]["value"] for frame in everything] == list(range(40))
        subscriber = Subscriber(ORGANIZATION, 10)
        *shown, gap = await replayed(running, hub, "node.0.-1", subscriber, readings_max=20)
        values = [frame["data"]["value"] for frame in shown]
        assert values == list(range(len(values)))
        assert 20 <= len(values) < 40
        assert gap == {"type": "gap", "dropped": None, "cursor": "node.40.-1"}
        await send(running, 40, 1)
        assert [json.loads(frame.text)["data"]["value"] for frame in subscriber.frames] == [40]


async def test_a_pong_while_resuming_stands_where_the_client_stands(tmp_path: Path) -> None:
    """Were it ahead, a client that breaks off and resumes there would miss readings unknowingly."""
    async with pipeline(tmp_path) as running:
        hub = hub_of(running)
        await send(running, 0, 3)
        subscriber = Subscriber(ORGANIZATION, 10)
        backlog = resumed(running, hub, "node.0.-1", subscriber)
        seen: list[str] = []
        async for frame in backlog:
            assert hub.position_of(subscriber) == (seen[-1] if seen else "node.0.-1")
            if len(seen) == 2:  # published before the socket's queue begins: read from the log
                await send(running, 3, 2)
            seen.append(frame.cursor)
            subscriber.cursor = frame.cursor  # as a socket does that has written it
        assert len(seen) == 5
        assert hub.position_of(subscriber) == hub.cursor.text() == "node.2.-1"
