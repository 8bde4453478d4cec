"""Filling a stopped station's file with months of readings, past its doors and through its store.

Columns become chunks as a flush makes them, and then go through the store's own sealing and
rollups, block by block, as its jobs would have done in the course of time. Nothing is put into the
intake log.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data import SENSORS, Reading
from bench.encoding import Identity, body_json, post_readings
from bench.http_load import HttpLoadResult, HttpLoadSpec
from bench.plan import Plan
from bench.processes import load_core, run_task
from bench.spool import write_spool
from bench.station import (
    TELEMETRY_FILE,
    count_stored,
    demand_stored,
    demand_success,
    register_devices,
    running_station,
    settle,
)
from bench.synthetic import US_PER_HOUR, SyntheticSeries, Timing, spans
from fieldstation.domains.telemetry.store import flushing
from fieldstation.domains.telemetry.store.points import Points
from fieldstation.domains.telemetry.store.sqlite import CHECKPOINT_PAGES
from fieldstation.domains.telemetry.store.sqlite_connections import (
    connect_writer,
    drive,
    transaction,
)

BLOCK_READINGS = 1_000_000
NEWEST_VALUE = 20.5


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
        result = run_task(
            "bench.http_load",
            HttpLoadSpec(
                port=station.http_port,
                spool=str(spool),
                connections=1,
                messages=devices,
                duration_s=60.0,
            ),
            result=HttpLoadResult,
            core=load_core(),
        )
        demand_success(result, devices)
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
    fleet: Fleet,
    timing: Timing,
    *,
    span_us: int,
    numbers: Sequence[int] | None = None,
    block_readings: int = BLOCK_READINGS,
) -> int:
    """Store the ``span_us`` (whole hours) before the fleet's newest readings; return how many.

    Of all series, or of those with these ``numbers`` only. Cost: about a microsecond a reading.
    Raises ``ProcessFailedError`` when the file does not hold exactly what was put in.
    """
    chosen = range(len(fleet.series_ids)) if numbers is None else numbers
    before = count_stored(fleet.data_dir)
    start_us = fleet.end_us - span_us
    streams = [SyntheticSeries(number, timing, start_us=start_us) for number in chosen]
    ids = [fleet.series_ids[number] for number in chosen]
    filled = 0
    for low, high in spans(start_us, fleet.end_us, block_span_us(timing, len(ids), block_readings)):
        points = block_points(streams, ids, timing.count(high - low))
        write_block(fleet.file, points, ids)
        filled += len(points)
        asyncio.run(settle(fleet.file))
    demand_stored(fleet.data_dir, expected=before + filled)
    return filled


def block_span_us(timing: Timing, series: int, block_readings: int) -> int:
    """Return whole hours in which all series together have about so many readings."""
    per_hour = series * timing.count(US_PER_HOUR)
    return max(1, block_readings // per_hour) * US_PER_HOUR


def block_points(streams: Sequence[SyntheticSeries], ids: Sequence[int], count: int) -> Points:
    """Return the next ``count`` readings of every series, in key order."""
    order = np.argsort(np.asarray(ids, np.int64))
    parts = [streams[at].take(count) for at in order]
    return Points(
        np.repeat(np.asarray(ids, np.int64)[order], count),
        np.concatenate([ts_us for ts_us, _ in parts]),
        np.concatenate([value for _, value in parts]),
        np.zeros(count * len(ids), np.int64),
    )


def write_block(file: Path, points: Points, ids: Sequence[int]) -> None:
    """Write chunks as a flush does, the same number in a transaction."""
    rows, _, _ = flushing.make_rows(points, set(ids))
    size = flushing.FlushLimits().chunks_per_slice
    with closing(connect_writer(file, checkpoint_pages=CHECKPOINT_PAGES)) as connection:
        for at in range(0, len(rows), size):
            with transaction(connection):
                drive(connection, flushing.write_chunks(rows[at : at + size]))
