"""Events of one node reach the others through a real Redis; without one the node works on."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio as client_package

from fieldstation.bus.redis import EVENTS_WAITING_MAX, RedisBus
from fieldstation.core.events import Event
from fieldstation.core.settings import RedisSettings
from tests.redis_process import RedisProcess, running_redis
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


class Opened(Event, frozen=True, kw_only=True, tag=True):
    """A fact."""

    name: str = "gate"


class Unheard(Event, frozen=True, kw_only=True, tag=True):
    """A fact that nobody subscribes to."""


class Node:
    """A bus that remembers what it heard."""

    def __init__(self, redis: RedisProcess, name: str, prefix: str = "test") -> None:
        settings = RedisSettings.model_validate({"REDIS_URL": redis.url, "REDIS_PREFIX": prefix})
        self.bus = RedisBus(settings, node_id=name)
        self.heard: list[str] = []
        self.bus.subscribe(Opened, lambda event: self.heard.append(event.name))


@asynccontextmanager
async def connected(*nodes: Node) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(node.bus.run_forever()) for node in nodes]
        await wait_until(lambda: all(node.bus.is_connected for node in nodes))
        yield
        for task in running:
            task.cancel()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    with running_redis(tmp_path) as redis:
        yield redis


async def test_an_event_is_heard_here_at_once_and_once_at_every_other_node(
    redis: RedisProcess,
) -> None:
    nodes = [Node(redis, name) for name in "abc"]
    async with connected(*nodes):
        nodes[0].bus.publish(Opened(name="door"))
        assert nodes[0].heard == ["door"]
        nodes[0].bus.publish(Unheard())
        nodes[0].bus.publish(Opened(name="last"))
        await wait_until(lambda: all("last" in node.heard for node in nodes))
        assert [node.heard for node in nodes] == [["door", "last"]] * 3


async def test_what_is_delivered_stays_here(redis: RedisProcess) -> None:
    a, b = Node(redis, "a"), Node(redis, "b")
    async with connected(a, b):
        a.bus.deliver(Opened(name="own"))
        a.bus.publish(Opened(name="all"))
        await wait_until(lambda: b.heard == ["all"])
        assert a.heard == ["own", "all"]


async def test_another_station_on_the_same_redis_hears_nothing(redis: RedisProcess) -> None:
    a, b, stranger = Node(redis, "a"), Node(redis, "b"), Node(redis, "x", prefix="other")
    async with connected(a, b, stranger):
        a.bus.publish(Opened())
        await wait_until(lambda: b.heard == ["gate"])
        stranger.bus.publish(Opened(name="theirs"))
        a.bus.publish(Opened(name="again"))
        await wait_until(lambda: b.heard == ["gate", "again"])
        assert stranger.heard == ["theirs"]


async def test_without_redis_a_node_hears_itself_and_finds_back(redis: RedisProcess) -> None:
    a, b = Node(redis, "a"), Node(redis, "b")
    async with connected(a, b):
        redis.kill()
        await wait_until(lambda: not a.bus.is_connected and not b.bus.is_connected)
        a.bus.publish(Opened(name="alone"))
        assert a.heard == ["alone"]
        redis.start()
        await wait_until(lambda: a.bus.is_connected and b.bus.is_connected, timeout_s=15)
        a.bus.publish(Opened(name="together"))
        await wait_until(lambda: "together" in b.heard)


async def test_events_that_wait_for_redis_are_bounded(redis: RedisProcess) -> None:
    node = Node(redis, "a")
    for number in range(EVENTS_WAITING_MAX + 5):
        node.bus.publish(Opened(name=str(number)))
    other = Node(redis, "b")
    async with connected(other), connected(node):
        await wait_until(lambda: f"{EVENTS_WAITING_MAX + 4}" in other.heard)
        assert other.heard[0] >= "5"
        assert len(other.heard) <= EVENTS_WAITING_MAX


async def test_what_is_not_understood_is_left(redis: RedisProcess) -> None:

    a, b = Node(redis, "a"), Node(redis, "b")
    async with connected(a, b), client_package.Redis.from_url(redis.url) as client:
        for message in (b"", b"{}", b'["x","Opened",{"name":5}]', b'["x","Newer",{}]', b"\xff"):
            await client.publish("test:events", message)
        a.bus.publish(Opened(name="understood"))
        await wait_until(lambda: b.heard == ["understood"])
