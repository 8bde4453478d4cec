"""Readings of months ago, so many that a station seals and rolls them up for a while.

And what they come to, recomputed: sums within 1e-9 of themselves, since they are added up in
another order.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.clients import StationClient, TestDevice
from tests.faults.oracle import HOUR_US, SENSOR_TYPE, Batch, Journal, Key, us_of
from tests.station_process import StationProcess

DAY_US = 24 * HOUR_US
DEVICES, SENSORS, PER_HOUR = 3, 4, 2
ENDED_DAYS_AGO = 40
AGGREGATES = "avg,min,max,sum,count,first,last,stddev"
INTERVALS = {"1h": HOUR_US, "1d": DAY_US}
MESSAGE_READINGS = 7_500


class Past:
    """The readings of an organization of their own: every series has some in each hour."""

    def __init__(self, station: StationProcess, *, days: int) -> None:
        self.journal = Journal()
        self.client = StationClient(station.url).sign_up()
        self.devices = [self.client.register_device() for _ in range(DEVICES)]
        self.end_us = (time.time_ns() // 1_000 // DAY_US - ENDED_DAYS_AGO) * DAY_US
        self.start_us = self.end_us - days * DAY_US

    @property
    def hours(self) -> int:
        """How many hours of a series there are: each is one chunk, until it is sealed."""
        hours = (self.end_us - self.start_us) // HOUR_US
        return hours * len(self.devices) * SENSORS

    def batches(self, device: TestDevice) -> list[Batch]:
        """Note the readings of a device as sent, in order of time."""
        step_us = HOUR_US // PER_HOUR
        instants = range(self.start_us + step_us // 2, self.end_us, step_us)
        sent = self.journal.sent
        for ts_us in instants:
            for sensor in range(SENSORS):
                sent[Key(device.id, f"sensor-{sensor}", ts_us)] = value_of(len(sent))
        own = [(key, value) for key, value in sent.items() if key.device_id == device.id]
        parts = [own[at : at + MESSAGE_READINGS] for at in range(0, len(own), MESSAGE_READINGS)]
        return [Batch(*map(tuple, zip(*part, strict=True))) for part in parts]

    def send(self) -> None:
        """Send everything, in order."""
        for device in self.devices:
            for batch in self.batches(device):
                answer = self.client.send(device, batch.readings())
                assert answer == {"accepted": len(batch.keys), "duplicates": 0, "rejected": []}
                self.journal.acknowledge(batch)

    def verify(self) -> None:
        """Demand every reading once, and summaries as recomputed from them."""
        self.journal.verify_by_api(self.client)
        self.verify_buckets()
        verify_stats(self.client, self.journal.sent)

    def verify_buckets(self) -> None:
        verify_buckets(self.client, self.journal.sent)


@contextmanager
def past_of(station: StationProcess, *, days: int) -> Iterator[Past]:
    """Have a station keep a past in ordinary chunks, and begin to seal it."""
    past = Past(station, days=days)
    try:
        past.send()
        assert station.stop() == 0  # which writes the chunks
        station.start()
        yield past
    finally:
        past.client.http.close()


def value_of(number: int) -> float:
    """Return a value that is like its neighbours and unlike them in its digits."""
    return 20 + number * 37 % 101 / 7


def verify_buckets(client: StationClient, sent: Mapping[Key, float]) -> None:
    """Demand that hours and days of the organization's readings are as recomputed."""
    days = {key.ts_us // DAY_US for key in sent}
    period = {"start": min(days) * DAY_US, "end": (max(days) + 1) * DAY_US}
    for interval, interval_us in INTERVALS.items():
        asked = {"interval": interval, "aggregate": AGGREGATES, **period}
        found = {
            (*series_of(item), us_of(item["start"])): item
            for item in client.get("/api/v1/readings", **asked)["items"]
        }
        expected = grouped(sent, lambda key, us=interval_us: key.ts_us // us * us)
        assert found.keys() == expected.keys()
        for place, values in expected.items():
            own = {name: found[place][name] for name in AGGREGATES.split(",")}
            assert own == pytest.approx(summary(values), rel=1e-9), place


def verify_stats(client: StationClient, sent: Mapping[Key, float]) -> None:
    """Demand that the statistics of each series are as recomputed."""
    found = {series_of(item): item for item in client.get("/api/v1/readings/stats")["items"]}
    expected = grouped(sent, lambda _: 0)
    assert {(*series, 0) for series in found} == expected.keys()
    for (*series, _), values in expected.items():
        wanted = summary(values)
        wanted["mean"] = wanted.pop("avg")
        del wanted["sum"]
        own = {name: found[series[0], series[1]][name] for name in wanted}
        assert own == pytest.approx(wanted, rel=1e-9), series


def grouped(
    sent: Mapping[Key, float], start_of: Callable[[Key], int]
) -> dict[tuple[str, str, int], list[float]]:
    """Return the values by device, sensor and start, in order of time."""
    found: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)
    for key in sorted(sent):
        found[key.device_id, key.sensor_id, start_of(key)].append(sent[key])
    return found


def summary(values: Sequence[float]) -> dict[str, Any]:
    mean = math.fsum(values) / len(values)
    return {
        "avg": mean,
        "min": min(values),
        "max": max(values),
        "sum": math.fsum(values),
        "count": len(values),
        "first": values[0],
        "last": values[-1],
        "stddev": math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)),
    }


def series_of(item: Mapping[str, Any]) -> tuple[str, str]:
    assert item["sensor_type"] == SENSOR_TYPE
    return item["device_id"], item["sensor_id"]
