"""The pump: turns, one after the other, and an end to each round."""

import asyncio
from datetime import UTC, datetime

import pytest

from fieldstation.adapters.mqtt_server.pump import Pump
from fieldstation.core.clock import ManualClock
from tests.adapters.mqtt_server.raw_client import connected, publish_bytes
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


class Talker:
    """Has so many slices to handle, each of which takes a while."""

    def __init__(self, name: str, slices: int, log: list[str], clock: ManualClock) -> None:
        self.name = name
        self._slices = slices
        self._log = log
        self._clock = clock

    def take_turn(self) -> bool:
        self._log.append(self.name)
        self._clock.advance(0.0004)
        self._slices -= 1
        return self._slices > 0

    def flush(self) -> None:
        self._log.append(f"flush {self.name}")

    def close_broken(self) -> None:
        raise AssertionError("nothing is wrong with this one")


class Broken:
    """Raises what nobody expected."""

    def __init__(self) -> None:
        self.closed = False

    def take_turn(self) -> bool:
        raise RuntimeError("broken")

    def flush(self) -> None:
        raise AssertionError("nothing was sent")

    def close_broken(self) -> None:
        self.closed = True


async def test_everybody_gets_a_slice_in_turn_and_the_loop_its_share() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    pump = Pump(clock, turn_ms=1.0)
    log: list[str] = []
    for name, slices in (("a", 4), ("b", 2), ("c", 1)):
        pump.add(Talker(name, slices, log, clock))
    asyncio.get_running_loop().call_soon(log.append, "loop")
    await wait_until(lambda: len(log) == 8)
    assert log == ["a", "b", "c", "loop", "a", "b", "a", "a"]


async def test_what_many_send_in_one_round_is_flushed_together() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    pump = Pump(clock, turn_ms=1.0)
    log: list[str] = []
    for name in "ab":
        pump.flush_soon(Talker(name, 1, log, clock))
    assert log == []
    await wait_until(lambda: log == ["flush a", "flush b"])


async def test_an_unexpected_error_closes_its_connection_and_the_others_go_on() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    pump = Pump(clock, turn_ms=1.0)
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: errors.append(str(context.get("exception")))
    )
    log: list[str] = []
    broken = Broken()
    pump.add(broken)
    pump.add(Talker("a", 2, log, clock))
    await wait_until(lambda: log == ["a", "a"])
    assert broken.closed
    assert errors == ["broken"]


async def test_a_flood_on_one_connection_does_not_keep_another_waiting() -> None:
    station = MemoryStation(commits_itself=False)
    async with (
        serving(station) as server,
        connected(server, "flood") as flood,
        connected(server, "calm") as calm,
    ):
        frames = b"".join(publish_bytes("x/readings", b"%d" % n) for n in range(100_000))
        flood.send(frames)
        await wait_until(lambda: station.unsettled > 0)
        await calm.ping()
        assert station.unsettled < 100_000
        await wait_until(lambda: station.unsettled == 100_000)
        station.commit()
