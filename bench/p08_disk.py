"""P8: bytes on the disk per reading once everything is sealed, against InfluxDB and VictoriaMetrics
after their compaction, and against plain rows."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bench.data import SENSORS
from bench.filling import build_fleet, fill
from bench.findings import Durability, Finding, Side, Target, measurement
from bench.p02_http_batch import KEYED_INSERT, KEYED_TABLE
from bench.peer_encoding import device_name, import_line
from bench.plan import Plan
from bench.processes import ProcessFailedError
from bench.raw_insert import connect, insert
from bench.spread import ratios
from bench.store_peers import (
    IMPORT_PATH,
    INFLUXDB,
    VICTORIA_METRICS,
    WRITE_PATH,
    call,
    influx_count,
    influxdb,
    missing,
    victoria_count,
    victoria_metrics,
)
from bench.synthetic import US_PER_DAY, US_PER_HOUR, SyntheticSeries, Timing
from fieldstation.core.clock import SystemClock

DEVICES = 20
HOURS = 10
READINGS_PER_WRITE = 10_000
# The unit of ``st_blocks``, whatever the file system's own.
BLOCK_BYTES = 512
SETTLE_TIMEOUT_S = 120.0
SETTLE_UNCHANGED_S = 5.0
SETTLE_LOOK_INTERVAL_S = 0.5
US_PER_MINUTE = 60_000_000
SENT_EVERY_US = 10_000_000
REGULAR = Timing(interval_us=1_000_000)
JITTERED = Timing(interval_us=1_000_000, jitter_us=100_000)
INFLUXDB_TARGET = Target(bound=0.7, at_most=True)
VICTORIA_TARGET = Target(bound=2.0, at_most=True)
ROWS_TARGET = Target(bound=1 / 20, at_most=True)
JITTERED_TARGET = Target(bound=2.5, at_most=True)
REGULAR_TARGET = Target(bound=1.0, at_most=True)


@dataclass(frozen=True, slots=True)
class Content:
    """Series that are alike; ``target`` bounds their bytes per reading."""

    name: str
    timing: Timing
    walks: bool
    target: Target

    def numbers(self) -> list[int]:
        """Return the series of all devices whose sensors are of this kind."""
        return [
            number
            for number in range(DEVICES * len(SENSORS))
            if SENSORS[number % len(SENSORS)].walks == self.walks
        ]


CONTENTS = (
    Content("regular, one decimal", REGULAR, walks=False, target=REGULAR_TARGET),
    Content("jittered, one decimal", JITTERED, walks=False, target=JITTERED_TARGET),
    Content("jittered, random walk", JITTERED, walks=True, target=JITTERED_TARGET),
)


class Space(msgspec.Struct, frozen=True):
    """What is on the disk; ``free`` of it the database has set aside for what comes next."""

    readings: int
    bytes: int
    free: int = 0

    @property
    def per_reading(self) -> float:
        return (self.bytes - self.free) / self.readings


class DiskSpace:
    """One kind of content stored once on every side; there is nothing to repeat."""

    def __init__(self, plan: Plan, content: Content) -> None:
        self._plan = plan
        self._content = content
        self._end_us = (SystemClock().now_us() // US_PER_DAY - 1) * US_PER_DAY
        self._span_us = plan.size(HOURS) * US_PER_HOUR
        self._start_us = self._end_us - self._span_us
        self._readings = len(content.numbers()) * content.timing.count(self._span_us)

    def station(self) -> Space:
        """Count the telemetry file's pages, less what a station has without these readings."""
        fleet = build_fleet(self._plan, "p8-station", devices=DEVICES, end_us=self._end_us)
        empty = file_space(fleet.file, 1)
        filled = fill(
            fleet, self._content.timing, span_us=self._span_us, numbers=self._content.numbers()
        )
        found = file_space(fleet.file, filled)
        self._plan.discard("p8-station")
        return Space(filled, found.bytes - (empty.bytes - empty.free), found.free)

    def influxdb(self) -> Space:
        directory = self._plan.discard("p8-influxdb")
        log = self._plan.log("p8-influxdb")
        with influxdb(directory, log=log, cold="1s") as peer:
            for body in self._bodies(lines):
                call(peer.port, "POST", WRITE_PATH, body=body)
            wait_unchanged(directory)
            self._demand(influx_count(peer.port))
        return Space(self._readings, directory_bytes(directory))

    def victoria_metrics(self) -> Space:
        directory = self._plan.discard("p8-victoria")
        with victoria_metrics(directory, log=self._plan.log("p8-victoria")) as peer:
            for body in self._bodies(json_line):
                call(peer.port, "POST", IMPORT_PATH, body=body)
            call(peer.port, "GET", "/internal/force_flush")
            call(peer.port, "GET", "/internal/force_merge")
            wait_unchanged(directory)
            ends = self._start_us // 1_000_000, self._end_us // 1_000_000
            self._demand(victoria_count(peer.port, start_s=ends[0], end_s=ends[1]))
        return Space(self._readings, directory_bytes(directory / "data"))

    def rows(self) -> Space:
        """Keep one row a reading, in the order in which devices send them."""
        file = self._plan.discard("p8-rows") / "rows.db"
        file.parent.mkdir(parents=True)
        everything = [
            (ts, number, value)
            for number, *pair in self._pieces()
            for ts, value in zip(*pair, strict=True)
        ]
        everything.sort(key=lambda row: (row[0] // SENT_EVERY_US, row[1], row[0]))
        rows = [(ts // US_PER_MINUTE, number, ts, value, 0) for ts, number, value in everything]
        with closing(connect(file)) as connection:
            connection.execute(KEYED_TABLE)
            insert(connection, KEYED_INSERT, rows, batch_rows=READINGS_PER_WRITE)
        return file_space(file, self._readings)

    def _pieces(self) -> Iterator[tuple[int, list[int], list[float]]]:
        count = self._content.timing.count(self._span_us)
        for number in self._content.numbers():
            series = SyntheticSeries(number, self._content.timing, start_us=self._start_us)
            for at in range(0, count, READINGS_PER_WRITE):
                ts_us, value = series.take(min(READINGS_PER_WRITE, count - at))
                yield number, ts_us.tolist(), value.tolist()

    def _bodies(self, encode: Callable[..., str]) -> Iterator[bytes]:
        for number, ts_us, values in self._pieces():
            device, sensor = divmod(number, len(SENSORS))
            timestamps_ms = [ts // 1_000 for ts in ts_us]
            yield encode(
                SENSORS[sensor].sensor_type, device_name(device), values, timestamps_ms
            ).encode()

    def _demand(self, held: int) -> None:
        if held != self._readings:
            raise ProcessFailedError(f"{self._readings} readings were written, {held} are there")


def lines(
    sensor_type: str, device: str, values: Sequence[float], timestamps_ms: Sequence[int]
) -> str:
    head = f"{sensor_type},device={device} value="
    pairs = zip(values, timestamps_ms, strict=True)
    return "\n".join([f"{head}{value} {timestamp_ms}" for value, timestamp_ms in pairs])


json_line = import_line


def file_space(file: Path, readings: int) -> Space:
    """Measure an SQLite file; pages that are only in its log count as if they were in it."""
    with closing(sqlite3.connect(file)) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return Space(readings, pages * size, free * size)


def directory_bytes(directory: Path) -> int:
    """Return what all files below take; holes in them and what vanishes meanwhile do not count."""
    os.sync()
    total = 0
    for file in directory.rglob("*"):
        try:
            total += file.stat().st_blocks * BLOCK_BYTES if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def wait_unchanged(directory: Path) -> None:
    """Return once no file has changed its size for some seconds: merges have ended."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    known, since = -1, time.monotonic()
    while time.monotonic() - since < SETTLE_UNCHANGED_S:
        size = directory_bytes(directory)
        if size != known:
            known, since = size, time.monotonic()
        if time.monotonic() > deadline:
            raise ProcessFailedError(f"{directory.name} was still being compacted")
        time.sleep(SETTLE_LOOK_INTERVAL_S)


def measure(plan: Plan) -> list[Finding]:
    found: list[Finding] = []
    for content in CONTENTS:
        space = DiskSpace(plan, content)
        plan.say(f"P8: storing {content.name} on every side, once")
        ours = side("station, sealed", Durability.FSYNC, space.station())
        note = f"{content.name}: stored once; what sealing keeps free for itself (8 MB) is left out"
        finding = partial(
            Finding, benchmark="P8", work=f"{content.name}, 1 Hz", ours=ours, notes=[note]
        )
        found.append(
            finding(
                peer=None,
                figure_name="bytes/reading",
                figures=ours.figures,
                target=content.target,
            )
        )
        for peer, target in peers(plan, space):
            compared: dict[str, Any] = {
                "peer": peer,
                "figure_name": "ratio",
                "figures": ratios(ours.figures, peer.figures),
            }
            found.append(finding(target=target, **compared))
    return found


def peers(plan: Plan, space: DiskSpace) -> Iterator[tuple[Side, Target]]:
    if reason := missing(INFLUXDB):
        plan.skip("P8", "InfluxDB", reason)
    else:
        yield side("InfluxDB, compacted", Durability.FSYNC, space.influxdb()), INFLUXDB_TARGET
    if reason := missing(VICTORIA_METRICS):
        plan.skip("P8", "VictoriaMetrics", reason)
    else:
        merged = space.victoria_metrics()
        yield side("VictoriaMetrics, merged", Durability.BUFFERED, merged), VICTORIA_TARGET
    yield side("plain rows", Durability.FSYNC, space.rows()), ROWS_TARGET


def side(name: str, durability: Durability, space: Space) -> Side:
    return Side(name, durability, "bytes/reading", [measurement(space.per_reading, space)])
