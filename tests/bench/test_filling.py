"""What several processes filled stands in one file, each reading once, sealed and rolled up."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from bench.filling import Fleet, fill, pieces, share_out
from bench.station import TELEMETRY_FILE
from bench.synthetic import US_PER_DAY, SyntheticSeries, Timing
from fieldstation.core.clock import SystemClock
from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.ports import Columns, SeriesKey
from fieldstation.domains.telemetry.store.sealed import unpack
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from fieldstation.migrations.upgrade import upgrade

SERIES = 5
DAYS = 2
EVERY_MINUTE = Timing(interval_us=60_000_000)
NEWEST = 20.5


async def begin(data_dir: Path, *, end_us: int) -> Fleet:
    """Return a fleet without devices, each series with its newest reading."""
    file = data_dir / TELEMETRY_FILE
    await upgrade(database_url(f"sqlite:///{file}", data_dir=data_dir), "telemetry")
    store = SqliteReadingStore(file, node_id="test", clock=SystemClock())
    await store.open()
    keys = [SeriesKey("org", "device", "temperature", str(at)) for at in range(SERIES)]
    ids = [row.id for row in await store.resolve_series(keys)]
    newest = Columns(ids, [end_us] * SERIES, [NEWEST] * SERIES, [0] * SERIES)
    await store.append(newest)
    await store.close()
    return Fleet(data_dir=data_dir, identities=(), series_ids=tuple(ids), end_us=end_us)


def test_every_series_has_its_readings_sealed_and_its_days_rolled_up(tmp_path: Path) -> None:
    end_us = (SystemClock().now_us() // US_PER_DAY - 1) * US_PER_DAY
    start_us = end_us - DAYS * US_PER_DAY
    fleet = asyncio.run(begin(tmp_path, end_us=end_us))

    filled = fill(fleet, EVERY_MINUTE, span_us=DAYS * US_PER_DAY)

    count = EVERY_MINUTE.count(DAYS * US_PER_DAY)
    assert filled == SERIES * count
    assert [file.name for file in tmp_path.glob("*.part*")] == []
    with closing(sqlite3.connect(fleet.file)) as connection:
        rows = connection.execute(
            "SELECT series_id, start_us, end_us, count, data FROM sealed ORDER BY 1, 2"
        ).fetchall()
        rolled_up = connection.execute(
            "SELECT series_id, number FROM rollup WHERE hours = 1 AND number < ? ORDER BY 1, 2",
            (end_us // US_PER_DAY,),
        ).fetchall()
    points = unpack(rows)
    for number, series_id in enumerate(fleet.series_ids):
        own = points.take(points.series_id == series_id)
        ts_us, value = SyntheticSeries(number, EVERY_MINUTE, start_us=start_us).take(count)
        assert np.array_equal(own.ts_us, [*ts_us, end_us])
        assert np.array_equal(own.value, [*value, NEWEST])
    days = range(start_us // US_PER_DAY, end_us // US_PER_DAY)
    assert rolled_up == [(series_id, day) for series_id in fleet.series_ids for day in days]


def test_chosen_series_alone_are_filled(tmp_path: Path) -> None:
    end_us = (SystemClock().now_us() // US_PER_DAY - 1) * US_PER_DAY
    fleet = asyncio.run(begin(tmp_path, end_us=end_us))

    assert fill(fleet, EVERY_MINUTE, span_us=US_PER_DAY, numbers=[3]) == 1_440

    with closing(sqlite3.connect(fleet.file)) as connection:
        rows = connection.execute(
            "SELECT series_id, total(count) FROM sealed GROUP BY series_id ORDER BY series_id"
        ).fetchall()
    assert rows == [(own, 1_441 if at == 3 else 1) for at, own in enumerate(fleet.series_ids)]


def test_each_core_gets_a_share(tmp_path: Path) -> None:
    fleet = Fleet(data_dir=tmp_path, identities=(), series_ids=(11, 12, 13, 14), end_us=0)

    assert share_out(fleet, [0, 1, 3], 2) == [{11: 0, 12: 1}, {14: 3}]
    assert share_out(fleet, [2], 2) == [{13: 2}]


def test_sealed_chunks_are_taken_by_the_month_up_to_the_newest_reading() -> None:
    found = [condition for table, condition in pieces(0, 60 * US_PER_DAY) if table == "sealed"]

    assert len(found) == 3
    assert found[-1].endswith(f"start_us < {60 * US_PER_DAY + 1}")
