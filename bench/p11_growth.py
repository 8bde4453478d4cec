"""P11: the same questions to stations that hold 10⁶ up to 10⁸ readings, 10⁹ with BENCH_BILLION=1.

A hundred series with a reading every ten seconds, so that a larger station reaches further back:
from 28 hours to three years (thirty with 10⁹). Each is asked about its newest day.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import urlencode

from bench.data import SENSORS
from bench.encoding import get_request
from bench.filling import Fleet, build_fleet, fill
from bench.findings import (
    Durability,
    Finding,
    Measurement,
    Side,
    Target,
    compare,
    interleave,
)
from bench.plan import Plan
from bench.questions import ask, median_ms
from bench.station import log_in, running_station
from bench.synthetic import US_PER_DAY, US_PER_HOUR, Timing
from fieldstation.core.clock import SystemClock

DEVICES = 10
TIMING = Timing(interval_us=10_000_000)
SIZES = (10**6, 10**7, 10**8)
BILLION = 10**9
QUICK_SIZES = (10**6, 10**7)
TIMES = 100
# A sealed reading, a second time until the shares of the cores are put together.
BYTES_PER_READING_MAX = 4
BYTES_FREE_MIN = 2 * 1024**3
TARGET = Target(bound=1.5, at_most=True)


def measure(plan: Plan) -> list[Finding]:
    end_us = SystemClock().now_us() // US_PER_HOUR * US_PER_HOUR
    fleets: dict[int, Fleet] = {}
    for size in wanted_sizes(plan):
        reason = disk_lack(shutil.disk_usage(plan.work_dir).free, size)
        if reason:
            plan.skip("P11", f"{size:,} readings", reason)
            continue
        plan.say(f"P11: filling {size:,} readings through the sealing code")
        fleet = build_fleet(plan, f"p11-{size}", devices=DEVICES, end_us=end_us)
        fill(fleet, TIMING, span_us=span_us(size))
        fleets[size] = fleet
    smallest = min(fleets, default=0)
    if len(fleets) < 2:
        return []
    plan.say(f"P11: {plan.rounds} rounds of {', '.join(f'{size:,}' for size in fleets)} readings")
    found: list[Finding] = []
    for question, path in questions(end_us).items():
        sides: dict[str, Callable[[], Measurement]] = {
            str(size): partial(latency, plan, fleet, path) for size, fleet in fleets.items()
        }
        rounds = interleave(plan.rounds, sides)
        found += compare_sizes(question, rounds, smallest)
    return found


def compare_sizes(
    question: str, rounds: Mapping[str, list[Measurement]], smallest: int
) -> list[Finding]:
    """Return a finding for each size but the smallest, against that."""
    sides = {
        size: Side(f"{int(size):,} readings", Durability.NOTHING_STORED, "ms", measured)
        for size, measured in rounds.items()
    }
    small = sides.pop(str(smallest))
    work = f"{question} of one device's ten series, one connection, p50"
    return [compare("P11", work, ours=side, peer=small, target=TARGET) for side in sides.values()]


def wanted_sizes(plan: Plan) -> list[int]:
    if plan.quick:
        return list(QUICK_SIZES)
    if os.environ.get("BENCH_BILLION") == "1":
        return [*SIZES, BILLION]
    plan.skip("P11", f"{BILLION:,} readings", "set BENCH_BILLION=1 to fill them")
    return list(SIZES)


def span_us(readings: int) -> int:
    """Return the whole hours in which all series together have at least so many readings."""
    per_hour = DEVICES * len(SENSORS) * TIMING.count(US_PER_HOUR)
    return -(-readings // per_hour) * US_PER_HOUR


def disk_lack(free_bytes: int, readings: int) -> str | None:
    """Say what is missing on the disk to fill so many readings, ``None`` if nothing is."""
    needed = BYTES_FREE_MIN + BYTES_PER_READING_MAX * readings
    if free_bytes >= needed:
        return None
    return f"needs {needed / 1e9:.1f} GB of free disk, there are {free_bytes / 1e9:.1f} GB"


def questions(end_us: int) -> dict[str, str]:
    """Return paths below a device, by what they ask for."""
    start = (end_us - US_PER_DAY) // 1_000
    period = {"start": start, "end": end_us // 1_000}
    trend = {"interval": "1h", "aggregate": "avg,min,max,count", **period}
    return {
        "latest": "/readings/latest",
        "stats of a day": f"/readings/stats?{urlencode(period)}",
        "hourly trend of a day": f"/readings?{urlencode(trend)}",
    }


def latency(plan: Plan, fleet: Fleet, path: str) -> Measurement:
    name = fleet.data_dir.name
    with running_station(
        fleet.data_dir, command=plan.station_command, log=plan.log(name)
    ) as station:
        whole = f"/api/v1/devices/{fleet.identities[0].device_id}{path}"
        question = get_request(whole, token=log_in(station.http_port))
        return median_ms(ask(plan, station, question, times=plan.size(TIMES)))
