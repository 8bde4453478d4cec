"""Show that a year of 100 sensors at 1 Hz fits in 8 GB, and how fast a year's daily trend answers.

Run ``python -m bench.year``: 3,153,600,000 readings go through the store's own sealing and rollups,
on two cores in about half an hour, with 14 GB of free disk. ``--sensors 4 --days 30`` takes a
minute; what the whole year would take is then extrapolated, and called so. Half of the sensors
measure a level that follows the day, with noise, to one decimal; half walk at random, to three.
Each reading comes up to 0.1 s late, in whole milliseconds; ``--regular``: each is on time.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.console import Console

from bench.__main__ import HERE, prepare_work_dir
from bench.data import SENSORS
from bench.encoding import get_request
from bench.filling import Fleet, build_fleet, fill
from bench.p08_disk import Space, file_space
from bench.p11_growth import disk_lack
from bench.plan import Plan
from bench.processes import ProcessFailedError
from bench.questions import ask, median_ms
from bench.station import log_in, request, running_station
from bench.synthetic import US_PER_DAY, Timing
from fieldstation.core.clock import SystemClock

SENSORS_WHOLE = 100
DAYS = 365
INTERVAL_US = 1_000_000
JITTER_US = 100_000
BYTES_MAX = 8 * 1_000_000_000
ANSWER_MS_MAX = 50.0
TIMES = 20


def main(words: Sequence[str]) -> int:
    """Return 0 if both hold, 1 if one does not, 2 if the disk has too little room."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.year",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sensors", type=up_to(SENSORS_WHOLE), default=SENSORS_WHOLE)
    parser.add_argument("--days", type=up_to(DAYS), default=DAYS)
    parser.add_argument("--regular", action="store_true", help="no reading is late")
    parser.add_argument("--work-dir", type=Path, default=HERE / "work-year")
    arguments = parser.parse_args(words)
    timing = Timing(INTERVAL_US, 0 if arguments.regular else JITTER_US)
    work_dir: Path = arguments.work_dir.resolve()
    prepare_work_dir(work_dir)
    command = (str(Path(sys.executable).parent / "fieldstation"), "serve")
    plan = Plan(work_dir, command, quick=False, rounds=1, console=Console(soft_wrap=True))
    try:
        return show(plan, timing, sensors=arguments.sensors, days=arguments.days)
    finally:
        shutil.rmtree(work_dir)


def up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"from 1 to {most}")
        return int(text)

    return number


def show(plan: Plan, timing: Timing, *, sensors: int, days: int) -> int:
    say = plan.console.print
    readings = sensors * timing.count(days * US_PER_DAY)
    if lack := disk_lack(shutil.disk_usage(plan.work_dir).free, readings):
        say(lack)
        return 2
    # Everything is old enough to be sealed.
    end_us = (SystemClock().now_us() // US_PER_DAY - 1) * US_PER_DAY
    say(f"filling {readings:,} readings: {sensors} sensors at 1 Hz for {days} days")
    fleet = build_fleet(plan, "year", devices=-(-sensors // len(SENSORS)), end_us=end_us)
    began_s = time.monotonic()
    fill(fleet, timing, span_us=days * US_PER_DAY, numbers=range(sensors))
    elapsed_s = time.monotonic() - began_s
    say(f"filled in {elapsed_s / 60:.1f} minutes: {readings / elapsed_s:,.0f} readings a second")
    space = file_space(fleet.file, readings)
    year_bytes = whole_year_bytes(space, sensors=sensors, days=days)
    say(
        f"file: {space.bytes:,} bytes with all indexes and rollups, of which {space.free:,} are"
        f" free pages; {space.per_reading:.2f} a reading without these"
    )
    say(
        f"a year of {SENSORS_WHOLE} sensors: {year_bytes / 1e9:.2f} GB, {origin(sensors, days)};"
        f" at most {BYTES_MAX / 1e9:g} GB: {verdict(year_bytes <= BYTES_MAX)}"
    )
    answer_ms = trend_ms(plan, fleet, days=days)
    say(
        f"daily trend of {days} days of one sensor, over HTTP: {answer_ms:.1f} ms (median of"
        f" {TIMES}); at most {ANSWER_MS_MAX:g} ms: {verdict(answer_ms <= ANSWER_MS_MAX)}"
    )
    return 0 if year_bytes <= BYTES_MAX and answer_ms <= ANSWER_MS_MAX else 1


def whole_year_bytes(measured: Space, *, sensors: int, days: int) -> float:
    """Scale what a part took to the whole; a part's fixed cost is scaled with it, free pages are
    not."""
    share = sensors * days / (SENSORS_WHOLE * DAYS)
    return measured.free + (measured.bytes - measured.free) / share


def origin(sensors: int, days: int) -> str:
    if (sensors, days) == (SENSORS_WHOLE, DAYS):
        return "measured"
    return f"extrapolated from {sensors} of {SENSORS_WHOLE} sensors and {days} of {DAYS} days"


def verdict(holds: bool) -> str:
    return "holds" if holds else "does NOT hold"


def trend_ms(plan: Plan, fleet: Fleet, *, days: int) -> float:
    """Return the median latency of the answer, which has to count every reading first."""
    period = {
        "sensor_type": SENSORS[0].sensor_type,
        "interval": "1d",
        "aggregate": "avg,min,max,count",
        "start": (fleet.end_us - days * US_PER_DAY) // 1_000,
        "end": fleet.end_us // 1_000,
    }
    path = f"/api/v1/devices/{fleet.identities[0].device_id}/readings?{urlencode(period)}"
    with running_station(
        fleet.data_dir, command=plan.station_command, log=plan.log("year")
    ) as station:
        token = log_in(station.http_port)
        demand_whole(request(station.http_port, "GET", path, token=token)[1], days=days)
        return median_ms(ask(plan, station, get_request(path, token=token), times=TIMES)).figure


def demand_whole(answer: Any, *, days: int) -> None:
    """Raise ``ProcessFailedError`` unless there is a bucket for each day that counts it whole."""
    counts = [bucket["count"] for bucket in answer["items"]]
    if counts != [US_PER_DAY // INTERVAL_US] * days:
        raise ProcessFailedError(f"the trend counts {sum(counts):,} readings in {len(counts)} days")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
