"""What this host measures of itself."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

import psutil

from fieldstation.agent.readings import Reading
from fieldstation.core.clock import Clock, us_to_rfc3339

TEMPERATURE_SENSORS_MAX = 64
INTERFACES_MAX = 256

# Traffic through these never leaves the host or is counted again on the physical interface.
VIRTUAL_INTERFACES = re.compile(
    r"(lo|veth|docker|br-|virbr|vnet|cni|flannel|cali|ifb|dummy)", re.IGNORECASE
)


class Traffic(NamedTuple):
    """Bytes that an interface has moved since it came up."""

    received: int
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """A host's counters and gauges at one moment; a mapping is empty where the host has none."""

    at_us: int
    monotonic_s: float
    cpu_busy_s: float
    cpu_total_s: float
    load_1m: float
    memory_percent: float
    memory_available_bytes: int
    disk_percent: float
    uptime_s: float
    traffic: Mapping[str, Traffic]
    temperatures_c: Mapping[str, float]


class HostMetrics:
    """Turns a host's states into samples; rates cover the time since the previous sample."""

    def __init__(
        self,
        clock: Clock,
        *,
        firmware_version: str,
        read: Callable[[Clock], HostState] | None = None,
    ) -> None:
        self._clock = clock
        self._firmware_version = firmware_version
        self._read = read or read_host
        self._state = self._read(clock)

    def sample(self) -> list[Reading]:
        """Measure now; every reading of a sample has the same timestamp."""
        before, self._state = self._state, self._read(self._clock)
        timestamp = us_to_rfc3339(self._state.at_us)
        return [
            Reading(sensor_type, round(value, 3), unit, sensor_id, timestamp)
            for sensor_type, value, unit, sensor_id in measure(before, self._state)
            if math.isfinite(value)
        ]

    def heartbeat(self) -> dict[str, object]:
        """Return the heartbeat body as of the last sample: seconds, bytes."""
        return {
            "uptime_s": round(self._state.uptime_s, 3),
            "free_memory": self._state.memory_available_bytes,
            "firmware_version": self._firmware_version,
            "timestamp": us_to_rfc3339(self._clock.now_us()),
        }


def measure(before: HostState, after: HostState) -> Iterator[tuple[str, float, str, str]]:
    """Yield ``(sensor_type, value, unit, sensor_id)``; what two states cannot tell is left out."""
    cpu_elapsed_s = after.cpu_total_s - before.cpu_total_s
    if cpu_elapsed_s > 0:
        busy = (after.cpu_busy_s - before.cpu_busy_s) / cpu_elapsed_s
        yield "cpu_usage", min(max(100 * busy, 0.0), 100.0), "%", "cpu"
    yield "load_average", after.load_1m, "processes", "1m"
    yield "memory_usage", after.memory_percent, "%", "memory"
    yield "memory_available", after.memory_available_bytes, "B", "memory"
    yield "disk_usage", after.disk_percent, "%", "root"
    yield from measure_network(before, after)
    for sensor_id, celsius in after.temperatures_c.items():
        yield "temperature", celsius, "°C", sensor_id
    yield "uptime", after.uptime_s, "s", "host"


def measure_network(before: HostState, after: HostState) -> Iterator[tuple[str, float, str, str]]:
    """Yield the rates over the interfaces that both states know; a reset one counts as silent."""
    elapsed_s = after.monotonic_s - before.monotonic_s
    known = before.traffic.keys() & after.traffic.keys()
    if elapsed_s <= 0 or not known:
        return
    received = sum(
        max(after.traffic[name].received - before.traffic[name].received, 0) for name in known
    )
    sent = sum(max(after.traffic[name].sent - before.traffic[name].sent, 0) for name in known)
    yield "network_received", received / elapsed_s, "B/s", "network"
    yield "network_sent", sent / elapsed_s, "B/s", "network"


def read_host(clock: Clock) -> HostState:
    """Read this host's state through psutil; takes a few milliseconds."""
    at_us = clock.now_us()
    cpu = psutil.cpu_times()
    # Linux counts guest time in user time as well.
    cpu_total_s = sum(cpu) - getattr(cpu, "guest", 0.0) - getattr(cpu, "guest_nice", 0.0)
    memory = psutil.virtual_memory()
    return HostState(
        at_us=at_us,
        monotonic_s=clock.monotonic(),
        cpu_busy_s=cpu_total_s - cpu.idle - getattr(cpu, "iowait", 0.0),
        cpu_total_s=cpu_total_s,
        load_1m=psutil.getloadavg()[0],
        memory_percent=memory.percent,
        memory_available_bytes=memory.available,
        disk_percent=psutil.disk_usage("/").percent,
        uptime_s=max(at_us / 1_000_000 - psutil.boot_time(), 0.0),
        traffic=read_traffic(),
        # Only some systems can tell.
        temperatures_c=name_temperatures(getattr(psutil, "sensors_temperatures", dict)()),
    )


def read_traffic() -> dict[str, Traffic]:
    counters = psutil.net_io_counters(pernic=True)
    physical = [name for name in sorted(counters) if not VIRTUAL_INTERFACES.match(name)]
    return {
        name: Traffic(counters[name].bytes_recv, counters[name].bytes_sent)
        for name in physical[:INTERFACES_MAX]
    }


class TemperatureSensor(Protocol):
    """One sensor of a chip as psutil reads it; the label may be empty."""

    @property
    def label(self) -> str: ...

    @property
    def current(self) -> float: ...


def name_temperatures(chips: Mapping[str, Sequence[TemperatureSensor]]) -> dict[str, float]:
    """Give each sensor an id of its chip and label, numbered where they repeat, up to the limit."""
    named: dict[str, float] = {}
    every = ((chip, sensor) for chip, sensors in chips.items() for sensor in sensors)
    for chip, sensor in islice(every, TEMPERATURE_SENSORS_MAX):
        base = re.sub(r"[^A-Za-z0-9]+", "-", f"{chip}-{sensor.label}").strip("-").lower()
        sensor_id = base = base or "sensor"
        repeat = 1
        while sensor_id in named:
            repeat += 1
            sensor_id = f"{base}-{repeat}"
        named[sensor_id] = sensor.current
    return named
