"""The host's figures are real, bounded and named so that they fit into topics."""

import dataclasses
import math
import os
import re
from datetime import UTC, datetime
from typing import NamedTuple

import psutil
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.agent.host_metrics import (
    TEMPERATURE_SENSORS_MAX,
    HostMetrics,
    HostState,
    Traffic,
    measure,
    name_temperatures,
    read_host,
)
from fieldstation.agent.readings import Reading
from fieldstation.core.clock import ManualClock, SystemClock
from tests.wait_until import wait_until_blocking

START = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
IDLE = HostState(
    at_us=0,
    monotonic_s=0.0,
    cpu_busy_s=0.0,
    cpu_total_s=0.0,
    load_1m=0.25,
    memory_percent=40.0,
    memory_available_bytes=2**30,
    disk_percent=50.0,
    uptime_s=99.5,
    traffic={"eth0": Traffic(1_000, 500)},
    temperatures_c={},
)


class Sensor(NamedTuple):
    label: str
    current: float


def by_type(readings: list[Reading]) -> dict[str, Reading]:
    return {reading.sensor_type: reading for reading in readings}


def test_this_host_reports_its_real_figures() -> None:
    clock = SystemClock()
    metrics = HostMetrics(clock, firmware_version="1")
    ticks = psutil.cpu_times()
    wait_until_blocking(lambda: sum(psutil.cpu_times()) > sum(ticks) + 0.05)
    sample = by_type(metrics.sample())
    assert sample["memory_available"].unit == "B"
    assert 0 < sample["memory_available"].value < psutil.virtual_memory().total
    disk = os.statvfs("/")
    used = 100 * (1 - disk.f_bavail / (disk.f_blocks - disk.f_bfree + disk.f_bavail))
    assert abs(sample["disk_usage"].value - used) < 2
    assert 0 <= sample["cpu_usage"].value <= 100
    assert 0 < sample["memory_usage"].value < 100
    assert sample["uptime"].value > 0
    assert sample["load_average"].sensor_id == "1m"
    assert ("temperature" in sample) == any(read_host(clock).temperatures_c)


def test_all_readings_of_a_sample_share_one_microsecond_timestamp() -> None:
    metrics = HostMetrics(ManualClock(START), firmware_version="1")
    assert {reading.timestamp for reading in metrics.sample()} == {"2026-01-02T03:04:05.678901Z"}


def test_rates_cover_the_time_since_the_previous_sample() -> None:
    later = dataclasses.replace(
        IDLE,
        at_us=2_000_000,
        monotonic_s=2.0,
        cpu_busy_s=1.0,
        cpu_total_s=4.0,
        traffic={"eth0": Traffic(5_000, 500), "eth1": Traffic(10**9, 10**9)},
        temperatures_c={"coretemp-core-0": 51.0},
    )
    states = iter([IDLE, later])
    clock = ManualClock(START)
    metrics = HostMetrics(clock, firmware_version="1", read=lambda _: next(states))
    sample = by_type(metrics.sample())
    assert sample["cpu_usage"][:4] == ("cpu_usage", 25.0, "%", "cpu")
    assert sample["network_received"][:4] == ("network_received", 2_000.0, "B/s", "network")
    assert sample["network_sent"].value == 0
    assert sample["temperature"][:4] == ("temperature", 51.0, "°C", "coretemp-core-0")


def test_what_two_states_cannot_tell_is_left_out() -> None:
    types = {sensor_type for sensor_type, *_ in measure(IDLE, IDLE)}
    assert types == {"load_average", "memory_usage", "memory_available", "disk_usage", "uptime"}


def test_interface_that_was_reset_counts_as_silent() -> None:
    reset = dataclasses.replace(IDLE, monotonic_s=1.0, traffic={"eth0": Traffic(5, 600)})
    rates = {name: value for name, value, *_ in measure(IDLE, reset) if "network" in name}
    assert rates == {"network_received": 0, "network_sent": 100}


def test_value_that_is_no_number_is_left_out() -> None:
    broken = dataclasses.replace(IDLE, temperatures_c={"broken": math.nan})
    metrics = HostMetrics(ManualClock(START), firmware_version="1", read=lambda _: broken)
    assert "temperature" not in by_type(metrics.sample())


def test_heartbeat_tells_uptime_memory_and_version() -> None:
    metrics = HostMetrics(ManualClock(START), firmware_version="0.1.0", read=lambda _: IDLE)
    assert metrics.heartbeat() == {
        "uptime_s": 99.5,
        "free_memory": 2**30,
        "firmware_version": "0.1.0",
        "timestamp": "2026-01-02T03:04:05.678901Z",
    }


def test_temperature_sensors_are_named_by_chip_and_label() -> None:
    chips = {
        "coretemp": [Sensor("Core 0", 50.0), Sensor("Core 0", 51.0)],
        "acpitz": [Sensor("", 40.0)],
    }
    assert name_temperatures(chips) == {
        "coretemp-core-0": 50.0,
        "coretemp-core-0-2": 51.0,
        "acpitz": 40.0,
    }


sensors = st.lists(st.builds(Sensor, st.text(), st.floats()), max_size=40)


@given(st.dictionaries(st.text(), sensors, max_size=4))
def test_any_chip_gets_a_distinct_id_that_fits_a_topic(chips: dict[str, list[Sensor]]) -> None:
    named = name_temperatures(chips)
    assert len(named) == min(sum(map(len, chips.values())), TEMPERATURE_SENSORS_MAX)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", sensor_id) for sensor_id in named)


counters = st.floats(0, 1e9)
traffic = st.dictionaries(
    st.sampled_from(["eth0", "eth1", "wlan0"]),
    st.builds(Traffic, st.integers(0, 2**63), st.integers(0, 2**63)),
)
states = st.builds(
    dataclasses.replace,
    st.just(IDLE),
    monotonic_s=counters,
    cpu_busy_s=counters,
    cpu_total_s=counters,
    traffic=traffic,
)


@given(states, states)
def test_any_two_states_give_bounded_figures(before: HostState, after: HostState) -> None:
    for sensor_type, value, unit, _ in measure(before, after):
        assert value >= 0, sensor_type
        assert unit != "%" or value <= 100, sensor_type
