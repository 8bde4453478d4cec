"""A share of the series filled into a station's file, by a process of its own on a core of its own.

Columns become chunks as a flush makes them, and then go through the store's own sealing and
rollups, day by day, as its jobs would have done in the course of time. Nothing is put into the
intake log.
"""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from bench.processes import be_task
from bench.station import settle
from bench.synthetic import US_PER_DAY, SyntheticSeries, Timing, spans
from fieldstation.domains.telemetry.store import flushing
from fieldstation.domains.telemetry.store.points import Points
from fieldstation.domains.telemetry.store.sqlite import CHECKPOINT_PAGES
from fieldstation.domains.telemetry.store.sqlite_connections import (
    connect_writer,
    drive,
    transaction,
)
from fieldstation.domains.telemetry.store.steps import Row

BLOCK_READINGS = 1_000_000
SAY_INTERVAL_S = 30.0


class ShareSpec(msgspec.Struct, frozen=True):
    """Fill these series (the number of each by its id) from ``start_us`` up to ``end_us``;
    ``says`` how far it is."""

    file: str
    numbers: dict[int, int]
    timing: Timing
    start_us: int
    end_us: int
    says: bool


class ShareResult(msgspec.Struct, frozen=True):
    readings: int


def fill_share(spec: ShareSpec) -> ShareResult:
    file, timing = Path(spec.file), spec.timing
    streams = {
        series_id: SyntheticSeries(number, timing, start_us=spec.start_us)
        for series_id, number in spec.numbers.items()
    }
    whole = len(streams) * timing.count(spec.end_us - spec.start_us)
    done, began_s, said_s = 0, time.monotonic(), 0.0
    for low, high in spans(spec.start_us, spec.end_us, block_span_us(timing, len(streams))):
        rows = block_rows(streams, timing.count(high - low))
        write_rows(file, rows)
        asyncio.run(settle(file))
        done += sum(row[4] for row in rows)
        elapsed_s = time.monotonic() - began_s
        if spec.says and elapsed_s - said_s >= SAY_INTERVAL_S:
            said_s = elapsed_s
            print(progress_line(done, whole, elapsed_s), file=sys.stderr, flush=True)
    return ShareResult(done)


def block_span_us(timing: Timing, series: int) -> int:
    """Return whole days, so that each is rolled up once: one, or as many as all series together
    need for a million readings."""
    return max(1, BLOCK_READINGS // (series * timing.count(US_PER_DAY))) * US_PER_DAY


def block_rows(streams: Mapping[int, SyntheticSeries], count: int) -> list[Row]:
    """Return chunks of the next ``count`` readings of every series, in the order of their key."""
    rows: list[Row] = []
    for series_id, stream in streams.items():
        points = Points(np.full(count, series_id), *stream.take(count), np.zeros(count, np.int64))
        own, _, _ = flushing.make_rows(points, {series_id})
        rows += own
    return sorted(rows, key=flushing.KEY)


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write chunks as a flush does, the same number in a transaction."""
    size = flushing.FlushLimits().chunks_per_slice
    with closing(connect_writer(file, checkpoint_pages=CHECKPOINT_PAGES)) as connection:
        for at in range(0, len(rows), size):
            with transaction(connection):
                drive(connection, flushing.write_chunks(rows[at : at + size]))


def progress_line(done: int, whole: int, elapsed_s: float) -> str:
    per_s = done / elapsed_s
    minutes = (whole - done) / per_s / 60
    return f"{done / whole:.1%} at {per_s:,.0f} readings a second, {minutes:.0f} minutes left"


if __name__ == "__main__":
    be_task(fill_share, ShareSpec)
