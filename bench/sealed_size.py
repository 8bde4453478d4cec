"""How many bytes a sealed reading takes on disk, and how fast sealing is, on SQLite.

Run as ``python -m bench.sealed_size [readings]``. Each row writes its own telemetry file through
the store: appends, flushes, seals, trims the intake log to its last entry and gives free pages
back. The size is that of the whole file, indexes included.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data import SEED
from bench.station import give_pages_back
from fieldstation.core.clock import ManualClock
from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.ports import Columns, SeriesKey, SeriesRow
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from fieldstation.migrations.upgrade import upgrade

SERIES = 10
INTERVAL_US = 10_000_000
BATCH_READINGS = 10_000
SINCE_US = 1_700_000_000_000_000
FLUSH_READINGS = 500_000


class Size(NamedTuple):
    """What one kind of data came to."""

    bytes_per_reading: float
    seal_readings_per_s: float
    slice_ms_max: float
    rows: int


def regular(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    del random
    return SINCE_US + np.arange(count, dtype=np.int64) * INTERVAL_US


def jittered(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Five milliseconds of jitter, in microseconds: what a network adds to a station's clock."""
    return regular(count, random) + random.normal(0, 5_000, count).astype(np.int64)


def jittered_ms(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Half a second of jitter, in milliseconds: a busy device with a clock of its own."""
    return regular(count, random) + random.integers(-500, 500, count) * 1_000


def daily(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """A temperature over the days with noise, to one decimal."""
    phase = np.arange(count) * (2 * np.pi * INTERVAL_US / 86_400_000_000)
    return np.round(20 + 5 * np.sin(phase) + random.normal(0, 0.2, count), 1)


def walk(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """A random walk to one decimal, as in the other benchmarks."""
    return np.round(20 + np.cumsum(random.normal(0, 0.05, count)), 1)


def full_walk(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """The same with all bits of a double, which nothing compresses well."""
    return 20 + np.cumsum(random.normal(0, 0.05, count))


async def measure(
    path: Path,
    readings: int,
    instants: Callable[[int, np.random.Generator], NDArray[np.int64]],
    values: Callable[[int, np.random.Generator], NDArray[np.float64]],
) -> Size:
    await upgrade(database_url(f"sqlite:///{path}", data_dir=path.parent), "telemetry")
    clock = ManualClock(datetime(2100, 1, 1, tzinfo=UTC))
    # A station keeps what its next flush needs; this file is to hold readings only.
    store = SqliteReadingStore(path, node_id="bench", clock=clock, free_pages_kept=0)
    await store.open()
    keys = [SeriesKey("org", "device", "temperature", str(at)) for at in range(SERIES)]
    await fill(store, await store.resolve_series(keys), readings // SERIES, instants, values)
    size = await seal(store)
    while await store.trim_log(before_us=clock.now_us() + 1):
        pass
    await give_pages_back(store)
    await store.close()
    stored = await asyncio.to_thread(path.stat)
    return size._replace(bytes_per_reading=stored.st_size / readings)


async def fill(
    store: SqliteReadingStore,
    series: list[SeriesRow],
    count: int,
    instants: Callable[[int, np.random.Generator], NDArray[np.int64]],
    values: Callable[[int, np.random.Generator], NDArray[np.float64]],
) -> None:
    """Append what the series measured, in the order of time, and flush as a station does."""
    random = np.random.default_rng(SEED)
    times = np.stack([instants(count, random) for _ in series])
    found = np.stack([values(count, random) for _ in series])
    ids = [row.id for row in series]
    step = BATCH_READINGS // len(series)
    for at in range(0, count, step):
        size = len(times[0, at : at + step])
        await store.append(
            Columns(
                ids * size,
                times[:, at : at + step].T.ravel().tolist(),
                found[:, at : at + step].T.ravel().tolist(),
                [0] * (size * len(ids)),
            )
        )
        if (at + size) * len(ids) % FLUSH_READINGS == 0:
            await store.flush()
    # The newest log entry is never trimmed: let it be a small one.
    await store.append(Columns([ids[0]], [int(times[0, -1]) + INTERVAL_US], [0.0], [0]))
    await store.flush()


async def seal(store: SqliteReadingStore) -> Size:
    """Seal everything, slice by slice."""
    moved, slowest_s, began_s = 0, 0.0, time.perf_counter()
    while True:
        slice_began_s = time.perf_counter()
        sealed = await store.seal_slice()
        if not sealed:
            break
        moved += sealed
        slowest_s = max(slowest_s, time.perf_counter() - slice_began_s)
    elapsed_s = time.perf_counter() - began_s
    return Size(0.0, moved / elapsed_s, 1_000 * slowest_s, moved)


async def main(readings: int) -> None:
    print(f"{readings:,} readings of {SERIES} series, one every {INTERVAL_US // 1_000_000} s\n")
    print(
        f"{'instants':<14}{'values':<14}{'bytes/reading':>14}{'sealed/s':>14}{'slowest slice':>16}"
    )
    for instants in (regular, jittered, jittered_ms):
        for values in (daily, walk, full_walk):
            with tempfile.TemporaryDirectory(prefix="sealed-size-") as directory:
                size = await measure(Path(directory) / "t.db", readings, instants, values)
            print(
                f"{instants.__name__:<14}{values.__name__:<14}{size.bytes_per_reading:>14.2f}"
                f"{size.seal_readings_per_s:>14,.0f}{size.slice_ms_max:>13.0f} ms"
            )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000))
