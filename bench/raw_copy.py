"""COPY into a prepared PostgreSQL table, one durable transaction a batch, a process of its own."""

import asyncio
import os
import time
from pathlib import Path

import asyncpg
import msgspec

from bench.cpu_meter import CpuMeter
from bench.processes import be_task
from bench.raw_insert import RawInsertResult, Row, read_rows
from fieldstation.domains.telemetry.store.entries import encode_entry
from fieldstation.domains.telemetry.store.points import Points, floats, integers

READING_COLUMNS = ("minute", "series_id", "ts", "value", "flags")
ENTRY_COLUMNS = ("readings",)


class RawCopySpec(msgspec.Struct, frozen=True):
    """Copy the rows of a file in batches; the first ``warm_up`` rows are not measured.

    ``packed``: each batch as the one entry that the station's intake log holds for it.
    """

    database_url: str
    table: str
    rows: str
    batch_rows: int
    warm_up: int
    packed: bool = False


def batches(rows: list[Row], size: int, *, packed: bool) -> list[list[tuple[object, ...]]]:
    """Cut rows into what each COPY is given."""
    pieces = [rows[at : at + size] for at in range(0, len(rows), size)]
    return [[(entry(piece),)] for piece in pieces] if packed else [list(piece) for piece in pieces]


def entry(rows: list[Row]) -> bytes:
    _, series_id, ts_us, value, flags = zip(*rows, strict=True)
    return encode_entry(
        Points(integers(series_id), integers(ts_us), floats(value), integers(flags))
    )


async def measure(spec: RawCopySpec) -> RawInsertResult:
    rows = read_rows(Path(spec.rows))
    columns = ENTRY_COLUMNS if spec.packed else READING_COLUMNS
    warm_up = batches(rows[: spec.warm_up], spec.batch_rows, packed=spec.packed)
    measured = batches(rows[spec.warm_up :], spec.batch_rows, packed=spec.packed)
    connection = await asyncpg.connect(spec.database_url)
    try:
        for batch in warm_up:
            await connection.copy_records_to_table(spec.table, records=batch, columns=columns)
        meter = CpuMeter(os.getpid())
        started = time.perf_counter()
        for batch in measured:
            await connection.copy_records_to_table(spec.table, records=batch, columns=columns)
        elapsed_s = time.perf_counter() - started
    finally:
        await connection.close()
    return RawInsertResult(
        rows=len(rows) - spec.warm_up, elapsed_s=elapsed_s, cpu=meter.read(elapsed_s=elapsed_s)
    )


if __name__ == "__main__":
    be_task(lambda spec: asyncio.run(measure(spec)), RawCopySpec)
