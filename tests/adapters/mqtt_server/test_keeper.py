"""What waits to be saved: bounded for all and for each organization, and nothing stops it."""

import asyncio
from typing import Any

import pytest

from fieldstation.adapters.mqtt_server.keeper import Keeper, Then
from fieldstation.adapters.mqtt_server.options import MqttCounters, MqttServerOptions
from fieldstation.domains.messaging.schemas import Retained, SessionEnded
from tests.adapters.mqtt_server.raw_client import (
    PUBACK,
    SUBACK,
    Received,
    connected,
    publish_bytes,
    subscribe_bytes,
    unsubscribe_bytes,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


def retained(organization_id: str = "org-a", topic: str = "a", size: int = 1) -> Retained:
    return Retained(organization_id, topic, b"x" * size, 0)


def make_keeper(**options: Any) -> Keeper:
    return Keeper(MemoryStation(), MqttServerOptions(**options), MqttCounters())


def test_one_organization_has_at_most_half_of_the_changes() -> None:
    keeper = make_keeper(changes_waiting_max=10)
    for _ in range(5):
        assert not keeper.is_full("org-a")
        keeper.add(retained())
    assert keeper.is_full("org-a")
    assert not keeper.is_full("org-b")
    for _ in range(5):
        keeper.add(retained("org-c"))
    assert keeper.is_full("org-b")


def test_bytes_count_as_well() -> None:
    keeper = make_keeper(changes_bytes_max=10_000)
    keeper.add(retained(size=5_000))
    assert keeper.is_full("org-a")
    assert not keeper.is_full("org-b")
    keeper.add(retained("org-c", size=5_000))
    assert keeper.is_full("org-b")


async def test_what_was_saved_makes_room() -> None:
    keeper = make_keeper(changes_waiting_max=2)
    keeper.add(retained())
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(keeper.write_forever(), name="keeper")
        await keeper.flushed()
        assert not keeper.is_full("org-a")
        assert len(keeper) == 0
        writing.cancel()


async def test_a_change_that_cannot_be_saved_costs_nothing_but_itself() -> None:
    station = MemoryStation()
    station.broken_clients.add("bad")
    counters = MqttCounters()
    keeper = Keeper(station, MqttServerOptions(), counters)
    for number in range(7):
        keeper.add(retained(topic=f"{number}"))
    keeper.add(SessionEnded("org-a", "bad"))
    keeper.add(retained(topic="last"))
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(keeper.write_forever(), name="keeper")
        await keeper.flushed()
        assert len(station.retained) == 8
        assert counters.changes_dropped == 1
        writing.cancel()


async def test_an_answer_that_fails_costs_no_other_answer() -> None:
    keeper = make_keeper()

    def fail() -> None:
        raise RuntimeError("a defect of one connection")

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(keeper.write_forever(), name="keeper")
        keeper.tell(Then(fail))
        await keeper.flushed()
        writing.cancel()


async def test_a_broken_change_does_not_end_the_server() -> None:
    station = MemoryStation()
    station.broken_clients.add("bad")
    async with serving(station) as server, connected(server, "bad", clean=False) as client:
        await client.subscribe(("a", 1))
        await wait_until(lambda: server.counters.changes_dropped >= 2)
        async with connected(server, "good", clean=False) as good:
            good.send(publish_bytes("a", packet_id=1))
            assert await good.read() == Received(PUBACK, b"\0\1")


@pytest.mark.parametrize("frame", [subscribe_bytes(("b", 1)), unsubscribe_bytes("b")])
async def test_subscribing_waits_while_changes_cannot_be_saved(frame: bytes) -> None:
    station = MemoryStation()
    async with (
        serving(station, changes_waiting_max=8) as server,
        connected(server, clean=False) as client,
        connected(server, "other", username="bob@org-b", clean=False) as other,
    ):
        await client.subscribe(("a", 1))
        station.retained_may_commit.clear()
        for number in range(1, 5):
            client.send(publish_bytes("kept", packet_id=number, retain=True))
        await client.ping()
        client.send(frame)
        await wait_until(lambda: server.counters.paused == 1)
        await other.ping()
        station.retained_may_commit.set()
        assert await client.read_pubacks(4) == [1, 2, 3, 4]
        received = await client.read()
        assert received.first in {SUBACK, 0xB0}
