"""P18: the memory that 1,000 idle live sockets take, and memory over ten minutes of P1's load
(``BENCH_MEMORY_S``: so many seconds)."""

import os
import time
from collections.abc import Sequence
from statistics import linear_regression

import msgspec
import psutil

from bench.data import DEVICES, SENSORS, Reading, device_readings
from bench.encoding import body_json, post_readings
from bench.findings import Durability, Finding, Measurement, Side, Target, measurement
from bench.http_load import HttpLoadResult, demand_success
from bench.live_load import open_socket
from bench.p12_fanout import ENVIRONMENT, SOCKETS
from bench.plan import Plan
from bench.processes import ProcessFailedError, Task, load_core
from bench.spool import write_spool
from bench.station import log_in, running_station
from bench.steady_load import SteadyLoadSpec
from fieldstation.core.clock import SystemClock

MIB = 2**20
IDLE_S = 3.0
CONNECTIONS = 8
BATCH_READINGS = 100
LOAD_S = 600.0
QUICK_LOAD_S = 30.0
LOAD_S_MIN = 15.0
# Long enough for 390,000 readings a second, and over before the stored readings begin.
LOAD_AGE_S = 8 * 3_600
LOAD_SPAN_S = 23_400
SAMPLE_INTERVAL_S = 1.0
# Until then queues, caches and the readings that wait for their flush have filled.
SETTLING_SHARE = 0.25
SOCKETS_TARGET = Target(bound=40.0, at_most=True)
GROWTH_TARGET = Target(bound=5.0, at_most=True)


class SocketMemory(msgspec.Struct, frozen=True):
    """Resident MiB of the station before and with the sockets."""

    before_mib: float
    with_mib: float


class LoadMemory(msgspec.Struct, frozen=True):
    """Resident MiB each second, and what the load was answered."""

    samples_mib: list[float]
    growth_percent: float
    load: HttpLoadResult


def measure(plan: Plan) -> list[Finding]:
    duration_s = wanted_duration_s(plan)
    plan.say(f"P18: {plan.rounds} rounds of {SOCKETS} idle sockets, then one of P1's load")
    sockets = Side(
        f"{SOCKETS} idle sockets",
        Durability.NOTHING_STORED,
        "MiB more",
        [idle_sockets(plan) for _ in range(plan.rounds)],
    )
    loaded = Side("under P1's load", Durability.FSYNC, "% grown", [under_load(plan, duration_s)])
    rate = loaded.rounds[0].detail["load"]
    per_s = sum(rate["statuses"].values()) * BATCH_READINGS / rate["elapsed_s"]
    samples = loaded.rounds[0].detail["samples_mib"]
    return [
        Finding(
            benchmark="P18",
            work="resident memory that idle live sockets add",
            ours=sockets,
            peer=None,
            figure_name="MiB",
            figures=sockets.figures,
            target=SOCKETS_TARGET,
        ),
        Finding(
            benchmark="P18",
            work=f"resident memory in {duration_s:g} s, growth of the fitted line after the first"
            " quarter",
            ours=loaded,
            peer=None,
            figure_name="% grown",
            figures=loaded.figures,
            target=GROWTH_TARGET,
            notes=[
                f"{per_s:,.0f} readings/s; from {min(samples):.0f} to {max(samples):.0f} MiB;"
                " the first quarter of the time does not count"
            ],
        ),
    ]


def wanted_duration_s(plan: Plan) -> float:
    """Return how long the load lasts; raise ``ProcessFailedError`` for what cannot be."""
    wanted = os.environ.get("BENCH_MEMORY_S")
    if wanted is None:
        return QUICK_LOAD_S if plan.quick else LOAD_S
    if not wanted.isdecimal() or not LOAD_S_MIN <= int(wanted) <= LOAD_S:
        raise ProcessFailedError(f"BENCH_MEMORY_S is from {LOAD_S_MIN:g} to {LOAD_S:g}: {wanted!r}")
    return float(wanted)


def idle_sockets(plan: Plan) -> Measurement:
    data_dir = plan.copy_template("p18-station")
    with running_station(
        data_dir,
        command=plan.station_command,
        log=plan.log("p18-station"),
        environment=ENVIRONMENT,
    ) as station:
        token = log_in(station.http_port)
        open_socket(station.http_port, "/ws", token).close()
        time.sleep(IDLE_S)
        before_mib = resident_mib(station.process.pid)
        opened = [open_socket(station.http_port, "/ws", token) for _ in range(SOCKETS)]
        time.sleep(IDLE_S)
        with_mib = resident_mib(station.process.pid)
        for connection in opened:
            connection.close()
    plan.discard("p18-station")
    return measurement(with_mib - before_mib, SocketMemory(before_mib, with_mib))


def under_load(plan: Plan, duration_s: float) -> Measurement:
    data_dir = plan.copy_template("p18-load")
    template = plan.template
    step_s = BATCH_READINGS // len(SENSORS)
    base_s = SystemClock().now_us() // 1_000_000 - LOAD_AGE_S
    spool = plan.work_dir / "p18.spool"
    bodies = (body_json(batch(device), base_s=base_s) for device in range(DEVICES))
    write_spool(spool, map(post_readings, template.identities, bodies))
    with running_station(
        data_dir, command=plan.station_command, log=plan.log("p18-load")
    ) as station:
        task = Task(
            "bench.steady_load",
            SteadyLoadSpec(
                port=station.http_port,
                spool=str(spool),
                connections=CONNECTIONS,
                base_s=base_s,
                step_s=step_s,
                duration_s=duration_s,
                messages_max=DEVICES * (LOAD_SPAN_S // step_s),
                server_pid=station.process.pid,
            ),
            result=HttpLoadResult,
            core=load_core(),
        )
        samples = sample_mib(station.process.pid, duration_s=duration_s)
        result = task.result()
    demand_success(result, sum(result.statuses.values()))
    plan.discard("p18-load")
    growth = growth_percent(samples)
    return measurement(growth, LoadMemory(samples, growth, result))


def batch(device: int) -> list[Reading]:
    """Return a hundred readings: each sensor once a second, in order of time, each new."""
    found = device_readings(device, start=0, count=4 * BATCH_READINGS)
    values = {(r.second, r.sensor): r.value for r in found if not r.repeated}
    level = {r.sensor: r.value for r in found}
    return [
        Reading(sensor, second, values.get((second, sensor), level[sensor]), False)
        for second in range(BATCH_READINGS // len(SENSORS))
        for sensor in range(len(SENSORS))
    ]


def sample_mib(pid: int, *, duration_s: float) -> list[float]:
    """Look every second; raise ``ProcessFailedError`` when the process ends."""
    began = time.monotonic()
    samples: list[float] = []
    while time.monotonic() - began < duration_s:
        try:
            samples.append(resident_mib(pid))
        except psutil.NoSuchProcess as error:
            raise ProcessFailedError("the station ended under the load") from error
        time.sleep(SAMPLE_INTERVAL_S)
    return samples


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    root = psutil.Process(pid)
    tree = [root, *root.children(recursive=True)]
    return sum(process.memory_info().rss for process in tree) / MIB


def growth_percent(samples: Sequence[float]) -> float:
    """Return by how much a line through the samples behind the settling rises, of its middle.

    At least eight samples, equally far apart.
    """
    settled = samples[int(len(samples) * SETTLING_SHARE) :]
    slope, start = linear_regression(range(len(settled)), settled)
    span = len(settled) - 1
    return 100 * slope * span / (start + slope * span / 2)
