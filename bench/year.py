"""Show that a year of 100 sensors at 1 Hz fits in 8 GB, and how fast a year's daily trend answers.

Run ``python -m bench.year``: it fills the whole year of one sensor (31.5 million readings, a few
minutes) through the store's own sealing and says what a hundred would take. ``--sensors 100`` fills
everything: some hours and 20 GB of free disk.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from rich.console import Console

from bench.__main__ import HERE, prepare_work_dir
from bench.data import SENSORS
from bench.encoding import get_request
from bench.filling import Fleet, build_fleet, fill
from bench.p08_disk import file_space
from bench.p11_growth import disk_lack
from bench.plan import Plan
from bench.questions import ask, median_ms
from bench.station import log_in, running_station
from bench.synthetic import US_PER_DAY, Timing
from fieldstation.core.clock import SystemClock

SENSORS_WHOLE = 100
DAYS = 365
TIMING = Timing(interval_us=1_000_000, jitter_us=100_000)
BYTES_MAX = 8 * 1_000_000_000
ANSWER_MS_MAX = 50.0
TIMES = 20


def main(words: Sequence[str]) -> int:
    """Return 0 if both hold, 1 if one does not, 2 if the disk has too little room."""
    parser = argparse.ArgumentParser(prog="python -m bench.year", description=__doc__)
    parser.add_argument(
        "--sensors", type=sensor_count, default=1, help=f"of {SENSORS_WHOLE}, default 1"
    )
    parser.add_argument("--days", type=int, default=DAYS, help="a shorter year, to try it out")
    parser.add_argument("--work-dir", type=Path, default=HERE / "work-year")
    arguments = parser.parse_args(words)
    console = Console()
    work_dir: Path = arguments.work_dir.resolve()
    prepare_work_dir(work_dir)
    try:
        return show(console, work_dir, sensors=arguments.sensors, days=arguments.days)
    finally:
        shutil.rmtree(work_dir)


def sensor_count(text: str) -> int:
    if not 1 <= int(text) <= SENSORS_WHOLE:
        raise argparse.ArgumentTypeError(f"from 1 to {SENSORS_WHOLE}")
    return int(text)


def show(console: Console, work_dir: Path, *, sensors: int, days: int) -> int:
    readings = sensors * TIMING.count(days * US_PER_DAY)
    if lack := disk_lack(shutil.disk_usage(work_dir).free, readings):
        console.print(lack)
        return 2
    command = (str(Path(sys.executable).parent / "fieldstation"), "serve")
    plan = Plan(work_dir, command, quick=False, rounds=1, console=console)
    end_us = SystemClock().now_us() // US_PER_DAY * US_PER_DAY
    console.print(f"filling {readings:,} readings: {sensors} sensors at 1 Hz for {days} days")
    fleet = build_fleet(plan, "year", devices=-(-sensors // len(SENSORS)), end_us=end_us)
    fill(fleet, TIMING, span_us=days * US_PER_DAY, numbers=range(sensors))
    space = file_space(fleet.file, readings)
    year_bytes = whole_year_bytes(space.bytes, sensors=sensors, days=days)
    answer_ms = trend_ms(plan, fleet, days=days)
    console.print(
        f"file: {space.bytes:,} bytes, {space.bytes / readings:.2f} a reading, of which"
        f" {space.free:,} are free pages"
    )
    console.print(
        f"a year of {SENSORS_WHOLE} sensors: {year_bytes / 1e9:.2f} GB,"
        f" {origin(sensors, days)}; at most {BYTES_MAX / 1e9:g} GB: "
        f"{verdict(year_bytes <= BYTES_MAX)}"
    )
    console.print(
        f"daily trend of {days} days of one sensor, over HTTP: {answer_ms:.1f} ms (median of"
        f" {TIMES}); at most {ANSWER_MS_MAX:g} ms: {verdict(answer_ms <= ANSWER_MS_MAX)}"
    )
    return 0 if year_bytes <= BYTES_MAX and answer_ms <= ANSWER_MS_MAX else 1


def whole_year_bytes(measured: int, *, sensors: int, days: int) -> float:
    """Scale what a part took to the whole; a part's fixed cost is scaled with it."""
    return measured * (SENSORS_WHOLE / sensors) * (DAYS / days)


def origin(sensors: int, days: int) -> str:
    if (sensors, days) == (SENSORS_WHOLE, DAYS):
        return "measured"
    return f"extrapolated from {sensors} of {SENSORS_WHOLE} sensors and {days} of {DAYS} days"


def verdict(holds: bool) -> str:
    return "holds" if holds else "does NOT hold"


def trend_ms(plan: Plan, fleet: Fleet, *, days: int) -> float:
    with running_station(
        fleet.data_dir, command=plan.station_command, log=plan.log("year")
    ) as station:
        period = {
            "sensor_type": SENSORS[0].sensor_type,
            "interval": "1d",
            "aggregate": "avg,min,max,count",
            "start": (fleet.end_us - days * US_PER_DAY) // 1_000,
            "end": fleet.end_us // 1_000,
        }
        path = f"/api/v1/devices/{fleet.identities[0].device_id}/readings?{urlencode(period)}"
        question = get_request(path, token=log_in(station.http_port))
        return median_ms(ask(plan, station, question, times=TIMES)).figure


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
