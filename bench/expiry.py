"""What deleting a day of readings costs, and the appends that go on meanwhile, on SQLite.

Run as ``python -m bench.expiry [series]``: each with a reading every ten seconds for a day and a
quarter, sealed and rolled up. First a minute's worth of appends alone, then the same while the day
goes, then while its rollups go.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.data import SEED
from bench.share import write_rows
from fieldstation.core.clock import ManualClock
from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.ports import Columns, SeriesKey
from fieldstation.domains.telemetry.store import flushing
from fieldstation.domains.telemetry.store.points import Points
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from fieldstation.migrations.upgrade import upgrade

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
SINCE_US = 19_700 * DAY_US
INTERVAL_US = 10_000_000
HOURS = 30
BATCH_READINGS = 1_000
PAUSE_S = 0.02
ALONE_S = 10.0


async def fill(path: Path, ids: list[int]) -> None:
    """Write chunks as flushes do, an hour at a time."""
    random = np.random.default_rng(SEED)
    per_hour = HOUR_US // INTERVAL_US
    for hour in range(HOURS):
        instants = SINCE_US + hour * HOUR_US + np.arange(per_hour) * INTERVAL_US
        count = per_hour * len(ids)
        points = Points(
            np.repeat(np.array(ids, np.int64), per_hour),
            np.tile(instants, len(ids)),
            np.round(random.normal(20, 2, count), 1),
            np.zeros(count, np.int64),
        )
        rows, _, _ = flushing.make_rows(points, set(ids))
        await asyncio.to_thread(write_rows, path, rows)


async def append_until(
    store: SqliteReadingStore, ids: list[int], since_us: int, stopped: Callable[[], bool]
) -> list[float]:
    """Append a batch every twenty milliseconds; return how long each took, in milliseconds."""
    took: list[float] = []
    ids = (ids * BATCH_READINGS)[:BATCH_READINGS]
    while not stopped():
        now_us = since_us + len(took) * HOUR_US // 3_600
        instants = [now_us + at // len(ids) for at in range(BATCH_READINGS)]
        began_s = time.perf_counter()
        await store.append(Columns(ids, instants, [20.5] * len(ids), [0] * len(ids)))
        took.append(1_000 * (time.perf_counter() - began_s))
        await asyncio.sleep(PAUSE_S)
    return took


async def beside(
    store: SqliteReadingStore, ids: list[int], since_us: int, work: Callable[[], Awaitable[bool]]
) -> str:
    """Do slices of work until there is none; say what they and the appends took."""
    slices: list[float] = []
    done = False

    async def go() -> None:
        nonlocal done
        more = True
        while more:
            began_s = time.perf_counter()
            more = await work()
            slices.append(1_000 * (time.perf_counter() - began_s))
        done = True

    _, took = await asyncio.gather(go(), append_until(store, ids, since_us, lambda: done))
    return (
        f"{len(slices):>6} slices {sum(slices) / 1_000:>6.1f} s, longest {max(slices):>4.0f} ms;"
        f" {percentiles(took)}"
    )


def percentiles(took: list[float]) -> str:
    p50, p99 = np.percentile(took, (50, 99))
    return f"{len(took)} appends: p50 {p50:.1f}, p99 {p99:.1f}, longest {max(took):.1f} ms"


async def measure(path: Path, series: int) -> None:
    await upgrade(database_url(f"sqlite:///{path}", data_dir=path.parent), "telemetry")
    clock = ManualClock(datetime(2100, 1, 1, tzinfo=UTC))
    store = SqliteReadingStore(path, node_id="bench", clock=clock)
    await store.open()
    keys = [SeriesKey("org", "device", "temperature", str(at)) for at in range(series)]
    ids = [row.id for row in await store.resolve_series(keys)]
    await store.close()
    await fill(path, ids)
    store = SqliteReadingStore(path, node_id="bench", clock=clock)
    await store.open()
    while await store.seal_slice():
        pass
    end_us = SINCE_US + HOURS * HOUR_US
    while await store.roll_up(before_us=end_us):
        pass
    before = await store.totals()
    until_s = time.perf_counter() + ALONE_S
    took = await append_until(store, ids, end_us, lambda: time.perf_counter() > until_s)
    print(f"alone:    {percentiles(took)}")

    async def readings() -> bool:
        before_us = SINCE_US + DAY_US
        return await store.expire_slice(ids, raw_before_us=before_us, rollups_before_us=None)

    async def rollups() -> bool:
        before_us = SINCE_US + DAY_US
        return await store.expire_slice(ids, raw_before_us=None, rollups_before_us=before_us)

    print(f"readings: {await beside(store, ids, end_us + HOUR_US, readings)}")
    print(f"rollups:  {await beside(store, ids, end_us + 2 * HOUR_US, rollups)}")
    after = await store.totals()
    print(f"{before.readings - after.readings:,} readings fewer, beside the appended ones")
    await store.close()


async def main(series: int) -> None:
    with tempfile.TemporaryDirectory(prefix="expiry-") as directory:
        await measure(Path(directory) / "t.db", series)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
