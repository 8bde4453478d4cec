"""Filling a stopped station's file with months of readings, past its doors and through its store.

Each core fills its share of the series, the first in the station's file, the others in copies of
it (``bench.share``); what they sealed and rolled up is then put into the station's file as it is.
"""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.data import SENSORS, Reading
from bench.encoding import Identity, body_json, post_readings
from bench.http_load import HttpLoadSpec, send_all
from bench.plan import Plan
from bench.processes import Task
from bench.share import ShareResult, ShareSpec
from bench.spool import write_spool
from bench.station import (
    TELEMETRY_FILE,
    count_stored,
    demand_stored,
    register_devices,
    running_station,
    settle,
)
from bench.synthetic import US_PER_DAY, Timing, spans
from fieldstation.domains.telemetry.store.sqlite import CHECKPOINT_PAGES
from fieldstation.domains.telemetry.store.sqlite_connections import connect_writer, transaction

NEWEST_VALUE = 20.5
US_PER_MONTH = 30 * US_PER_DAY


@dataclass(frozen=True, slots=True)
class Fleet:
    """A stopped station whose devices have one reading of each sensor at ``end_us``.

    ``series_ids[n]`` belongs to sensor ``n % 10`` of device ``n // 10``.
    """

    data_dir: Path
    identities: tuple[Identity, ...]
    series_ids: tuple[int, ...]
    end_us: int

    @property
    def file(self) -> Path:
        return self.data_dir / TELEMETRY_FILE


def build_fleet(plan: Plan, name: str, *, devices: int, end_us: int) -> Fleet:
    """Register devices and store their newest readings through the station's own doors."""
    data_dir = plan.discard(name)
    with running_station(data_dir, command=plan.station_command, log=plan.log(name)) as station:
        identities = register_devices(station.http_port, devices=devices)
        newest = [Reading(sensor, 0, NEWEST_VALUE, False) for sensor in range(len(SENSORS))]
        body = body_json(newest, base_s=end_us // 1_000_000)
        spool = plan.work_dir / f"{name}.spool"
        write_spool(spool, [post_readings(identity, body) for identity in identities])
        send_all(
            HttpLoadSpec(
                port=station.http_port,
                spool=str(spool),
                connections=1,
                messages=devices,
                duration_s=60.0,
            )
        )
    ids = find_series_ids(data_dir / TELEMETRY_FILE, identities)
    return Fleet(data_dir=data_dir, identities=identities, series_ids=ids, end_us=end_us)


def find_series_ids(file: Path, identities: Sequence[Identity]) -> tuple[int, ...]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT device_id, sensor_type, id FROM series").fetchall()
    known = {(device_id, sensor_type): number for device_id, sensor_type, number in rows}
    return tuple(
        known[identity.device_id, sensor.sensor_type]
        for identity in identities
        for sensor in SENSORS
    )


def fill(
    fleet: Fleet, timing: Timing, *, span_us: int, numbers: Sequence[int] | None = None
) -> int:
    """Store the ``span_us`` before the fleet's newest readings; return how many readings these are.

    Of all series, or of those with these ``numbers`` only. A line each half minute says how far it
    is. Cost: about a microsecond a reading, shared by the cores. Raises ``ProcessFailedError``
    when the file does not hold exactly what was put in.
    """
    before = count_stored(fleet.data_dir)
    period_us = fleet.end_us - span_us, fleet.end_us
    cores = sorted(os.sched_getaffinity(0))
    shares = share_out(fleet, numbers or range(len(fleet.series_ids)), len(cores))
    files = [fleet.file, *(fleet.file.with_suffix(f".part{at}") for at in range(1, len(shares)))]
    for file in files[1:]:
        shutil.copy(fleet.file, file)
    tasks = [
        Task(
            "bench.share",
            ShareSpec(str(file), share, timing, *period_us, says=file == fleet.file),
            result=ShareResult,
            core=core,
        )
        for file, share, core in zip(files, shares, cores, strict=False)
    ]
    filled = sum(task.result().readings for task in tasks)
    for file, share in zip(files[1:], shares[1:], strict=True):
        put_in(fleet.file, file, list(share), period_us)
        file.unlink()
    asyncio.run(settle(fleet.file, give_back=True))
    demand_stored(fleet.data_dir, expected=before + filled)
    return filled


def share_out(fleet: Fleet, numbers: Sequence[int], most: int) -> list[dict[int, int]]:
    """Return the numbers of series by their ids, cut into at most so many shares."""
    size = -(-len(numbers) // most)
    return [
        {fleet.series_ids[number]: number for number in numbers[at : at + size]}
        for at in range(0, len(numbers), size)
    ]


def put_in(file: Path, part: Path, series_ids: Sequence[int], period_us: tuple[int, int]) -> None:
    """Put what a part holds of these series in the place of what the file holds of them."""
    own = f"series_id IN ({', '.join(map(str, series_ids))})"
    with closing(connect_writer(file, checkpoint_pages=CHECKPOINT_PAGES)) as connection:
        connection.execute("ATTACH ? AS part", (str(part),))
        for table, condition in pieces(*period_us):
            within = f"{own} AND {condition}"
            with transaction(connection):
                connection.execute(f"DELETE FROM main.{table} WHERE {within}")  # noqa: S608 - our own names
                connection.execute(
                    f"INSERT INTO main.{table} SELECT * FROM part.{table} WHERE {within}"  # noqa: S608 - our own names
                )


def pieces(start_us: int, end_us: int) -> Iterator[tuple[str, str]]:
    """Yield tables and what to take of them in one transaction: sealed chunks in the order of time,
    month by month, so that pages are as full as a station's."""
    for table in ("chunk", "series_hour", "rollup", "rollup_stale"):
        yield table, "TRUE"
    for low, high in spans(start_us, end_us + 1, US_PER_MONTH):
        yield "sealed", f"start_us >= {low} AND start_us < {high}"
