"""Readings that come late, in any order and twice end up as the same ones in order, on each store.

Two organizations of one station measure the same for thirty days. One sends in order. The other one
sends shuffled messages, some of them twice and some with another value the second time, while what
it sent before is sealed and rolled up: nearly all of that is late, by up to thirty days. Anomaly
flags are left out: they say what was unusual when it came.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients import StationClient, TestDevice
from tests.faults.oracle import HOUR_US, PAGE_READINGS_MAX, SENSOR_TYPE, Key
from tests.faults.past import DAY_US, value_of, verify_buckets, verify_stats
from tests.faults.stored import rows_of, rows_of_sqlite
from tests.faults.upkeep import Upkeep, file_url
from tests.services import fresh_server_database
from tests.station_process import StationProcess, running_station

pytestmark = pytest.mark.anyio

DAYS = 30
SENSORS = 2
STEP_US = 2 * HOUR_US
MESSAGE_READINGS = 24
PARTS = 3
"""Of what is shuffled; each comes while the one before it is sealed and rolled up."""
REPEATED_SHARE = 0.3
Reading = dict[str, Any]
NOT_COMPARED = ("id", "device_id", "anomaly", "anomaly_score")


def measured(until_us: int) -> list[Reading]:
    """Return what one device measured, in order: numbers, and now and then a text."""
    readings: list[Reading] = []
    for begin_us in range(until_us - DAYS * DAY_US, until_us, STEP_US):
        for ts_us in (begin_us, begin_us + HOUR_US // 3):
            for sensor in range(SENSORS):
                number = len(readings)
                reading: Reading = {"sensor_type": SENSOR_TYPE, "value": value_of(number)}
                if number % 10 == 0:
                    reading |= {"unit": "°C", "metadata": {"raw": number}}
                readings.append({**reading, "sensor_id": f"sensor-{sensor}", "timestamp": ts_us})
        if begin_us % (7 * STEP_US) == 0:
            state = ["open", "closed"][begin_us // STEP_US % 2]
            readings.append({"sensor_type": "door", "value": state, "timestamp": begin_us})
    return readings


def messages(readings: Sequence[Reading]) -> list[list[Reading]]:
    at = range(0, len(readings), MESSAGE_READINGS)
    return [list(readings[low : low + MESSAGE_READINGS]) for low in at]


class Shuffled:
    """What an organization sends that has neither order nor memory, in parts."""

    def __init__(self, readings: Sequence[Reading], chance: random.Random) -> None:
        self._chance = chance
        first = messages(readings)
        chance.shuffle(first)
        size = -(-len(first) // PARTS)
        self._first = [first[at : at + size] for at in range(0, len(first), size)]
        self._sent: list[list[Reading]] = []

    def parts(self) -> Iterator[list[list[Reading]]]:
        """Yield the messages of each part: new ones, and some of those that came before."""
        for own in self._first:
            part: list[list[Reading]] = []
            for message in own:
                part.append(self._chance.sample(message, len(message)))
                self._sent.append(message)
                if self._chance.random() < REPEATED_SHARE:
                    again = self._chance.choice(self._sent)
                    part += [again, [self._changed(self._chance.choice(again))]]
            yield part

    def _changed(self, reading: Reading) -> Reading:
        changed = "ajar" if reading["sensor_type"] == "door" else reading["value"] + 1
        return reading | {"value": changed}


class Organization:
    """One that measures, and what it was told."""

    def __init__(self, station: StationProcess) -> None:
        self.client = StationClient(station.url).sign_up()
        self.device: TestDevice = self.client.register_device()
        self.accepted = self.repeated = self.conflicts = 0

    def send(self, batch: Sequence[Sequence[Reading]]) -> None:
        for message in batch:
            answer = self.client.send(self.device, message)
            self.accepted += answer["accepted"]
            self.repeated += answer["duplicates"]
            self.conflicts += len(answer["rejected"])
            assert {fault["error"] for fault in answer["rejected"]} <= {"timestamp_conflict"}

    def readings(self) -> list[Reading]:
        """Return everything that is stored, in order."""
        query: dict[str, Any] = {"limit": PAGE_READINGS_MAX, "order": "asc"}
        found: list[Reading] = []
        while True:
            page = self.client.get("/api/v1/readings", **query)
            found += map(compared, page["items"])
            if page["next_cursor"] is None:
                return sorted(found, key=lambda row: (row["timestamp"], row["sensor_id"]))
            query["cursor"] = page["next_cursor"]

    def latest(self) -> list[Reading]:
        items = self.client.get("/api/v1/readings/latest")["items"]
        return sorted(map(compared, items), key=lambda row: row["sensor_id"])

    def numbers(self, readings: Sequence[Reading]) -> dict[Key, float]:
        return {
            Key(self.device.id, row["sensor_id"], row["timestamp"]): row["value"]
            for row in readings
            if row["sensor_type"] == SENSOR_TYPE
        }


def compared(item: Reading) -> Reading:
    return {name: value for name, value in item.items() if name not in NOT_COMPARED}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
async def test_readings_in_any_order_twice_and_late_end_up_as_those_in_order(
    tmp_path: Path, chance: random.Random, kind: str
) -> None:
    with ExitStack() as stack:
        url = None if kind == "sqlite" else stack.enter_context(fresh_server_database(kind))
        data_dir = tmp_path / "data"
        station = stack.enter_context(running_station(data_dir, database_url=url))
        ordered, shuffled = Organization(station), Organization(station)
        until_us = (time.time_ns() // 1_000 // DAY_US - 1) * DAY_US
        readings = measured(until_us)
        upkeep = Upkeep(url or file_url(data_dir), before_us=until_us)

        def restart() -> None:  # which writes what came into chunks
            assert station.stop() == 0
            station.start()

        def demand_the_same() -> None:
            assert shuffled.readings() == ordered.readings()
            assert shuffled.latest() == ordered.latest()
            for one in (ordered, shuffled):
                verify_buckets(one.client, one.numbers(readings))
                verify_stats(one.client, one.numbers(readings))

        ordered.send(messages(readings))
        restart()
        for part in Shuffled(readings, chance).parts():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.to_thread(shuffled.send, part), name="send")
                tasks.create_task(upkeep.until_done(), name="upkeep")
            restart()
        demand_the_same()
        await upkeep.until_done()
        demand_the_same()

        assert ordered.accepted == shuffled.accepted == len(readings) == len(ordered.readings())
        assert (ordered.repeated, ordered.conflicts) == (0, 0)
        assert min(shuffled.repeated, shuffled.conflicts) > 0
        assert station.stop() == 0
        stored = rows_of_sqlite(data_dir) if url is None else await rows_of(url)
        assert len(dict(stored)) == len(stored) == 2 * len(readings)
        await upkeep.forget_readings()
        station.start()
        for one in (ordered, shuffled):
            verify_buckets(one.client, one.numbers(readings))
        for one in (ordered, shuffled):
            one.client.http.close()
