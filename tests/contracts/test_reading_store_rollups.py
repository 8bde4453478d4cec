"""Rollups stand in for readings where they hold, on every store."""

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from random import Random
from typing import Any

import asyncpg
import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, SeriesRow
from fieldstation.domains.telemetry.store.rollups import RollupLimits
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    DAY_US,
    FOREVER,
    HOUR_US,
    MINUTE_US,
    Given,
    append,
    everything,
    make_series,
)
from tests.contracts.store_insides import failing_write
from tests.contracts.test_reading_store_aggregates import buckets_by_hand, close_to, stats_by_hand
from tests.services import on_mariadb

pytestmark = pytest.mark.anyio

MIDNIGHT_US = 20_800 * DAY_US
DAYS = 4
BEHIND_US = MIDNIGHT_US + DAYS * DAY_US


async def statement(database: ReadingDatabase, sql: str) -> list[Sequence[Any]]:
    """Run a statement on the database itself."""
    if database.kind == "sqlite":
        path = database.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            return file.execute(sql).fetchall()
    if database.kind == "mariadb":
        found = await on_mariadb(sql, database=database.url.rpartition("/")[2])
        return [tuple(row) for row in found]
    connection = await asyncpg.connect(database.url)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def count(database: ReadingDatabase, table: str) -> int:
    return int((await statement(database, f"SELECT COUNT(*) FROM {table}"))[0][0])  # noqa: S608


def half_hourly(series: Sequence[SeriesRow], *, days: int = DAYS) -> list[Given]:
    random = Random(7)  # noqa: S311 - readings, not secrets
    return [
        Given(row.id, MIDNIGHT_US + at * 30 * MINUTE_US + row.id, round(random.gauss(20, 5), 1))
        for at in range(48 * days)
        for row in series
    ]


async def roll_up(store: ReadingStoreUnderTest, before_us: int = BEHIND_US) -> None:
    while await store.roll_up(before_us=before_us):
        pass


async def test_rolled_up_hours_and_days_are_answered_without_their_chunks(
    database: ReadingDatabase,
) -> None:
    database.rollup_limits = RollupLimits(exact_readings_max=10)
    store = await database.open()
    series = await make_series(store, 3)
    given = half_hourly(series)
    await append(store, given)
    await store.flush()
    await roll_up(store)
    await statement(database, "DELETE FROM chunk")
    assert await everything(store, series) == []

    for interval_us in (HOUR_US, 3 * HOUR_US, DAY_US):
        found = await store.buckets(series, **FOREVER, interval_us=interval_us)
        expected = buckets_by_hand(given, interval_us)
        assert len(found) == len(expected)
        assert all(map(close_to, found, expected))
    for one in await store.stats(series, **FOREVER):
        own = stats_by_hand([row for row in given if row.series_id == one.series_id])
        assert (one.count, one.first, one.last) == (own.count, own.first, own.last)
        assert math.isclose(one.stddev, own.stddev, rel_tol=1e-9)
        assert math.isclose(one.p50, own.p50, rel_tol=0.0101)
        assert math.isclose(one.p95, own.p95, rel_tol=0.0101)


async def test_percentiles_of_few_readings_are_exact(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    given = half_hourly([series])
    await append(store, given)
    await store.flush()
    await roll_up(store)

    (one,) = await store.stats([series], **FOREVER)

    assert close_to(one, stats_by_hand(given))


async def test_only_flagged_readings_are_summed_up_from_readings(
    store: ReadingStoreUnderTest,
) -> None:
    (series,) = await make_series(store, 1)
    given = half_hourly([series])
    given[7] = given[7]._replace(flags=FLAG_ANOMALY, score=3.0)
    await append(store, given)
    await store.flush()
    await roll_up(store)

    flagged = await store.buckets([series], **FOREVER, interval_us=DAY_US, anomaly=True)
    others = await store.buckets([series], **FOREVER, interval_us=DAY_US, anomaly=False)

    assert [(one.count, one.first) for one in flagged] == [(1, given[7].value)]
    assert sum(one.count for one in others) == len(given) - 1


async def test_hours_behind_the_watermark_wait(database: ReadingDatabase) -> None:
    store = await database.open()
    series = await make_series(store, 2)
    await append(store, half_hourly(series, days=1))
    await store.flush()

    await roll_up(store, MIDNIGHT_US + 5 * HOUR_US + 1)
    assert await count(database, "rollup_stale") == 2 * (24 - 5)
    await roll_up(store, MIDNIGHT_US + DAY_US)
    assert await count(database, "rollup_stale") == 0
    assert not await store.roll_up(before_us=MIDNIGHT_US)

    rows = await statement(database, "SELECT hours, sketches FROM rollup ORDER BY hours")
    assert [(row[0], row[1] is None) for row in rows] == [(1, True)] * 2 + [(24, False)] * 2


async def test_slice_takes_so_many_days_of_series_and_no_more(database: ReadingDatabase) -> None:
    database.rollup_limits = RollupLimits(days_per_slice=3)
    store = await database.open()
    series = await make_series(store, 2)
    await append(store, half_hourly(series))
    await store.flush()

    left = []
    while await store.roll_up(before_us=BEHIND_US):
        left.append(await count(database, "rollup_stale"))

    assert left == [5 * 24, 2 * 24, 0]


async def test_last_hour_of_a_day_that_is_not_over_stays_marked(database: ReadingDatabase) -> None:
    database.rollup_limits = RollupLimits(days_per_slice=1)
    store = await database.open()
    await append(store, half_hourly(await make_series(store, 2), days=1))
    await store.flush()

    left = []
    while await store.roll_up(before_us=MIDNIGHT_US + 23 * HOUR_US):
        left.append(await count(database, "rollup_stale"))

    assert left == [25, 2]


@pytest.mark.parametrize("happens", [False, True])
async def test_rolling_up_that_fails_at_any_write_is_tried_again(
    database: ReadingDatabase, happens: bool
) -> None:
    database.rollup_limits = RollupLimits(days_per_slice=1, exact_readings_max=0)
    store = await database.open()
    series = await make_series(store, 2)
    given = half_hourly(series)
    expected = buckets_by_hand(given, DAY_US)
    await append(store, given)
    await store.flush()
    number, done = 0, False

    while not done:
        with failing_write(store, number, happens=happens):
            try:
                await roll_up(store)
                done = True
            except Busy:
                number += 1
        found = await store.buckets(series, **FOREVER, interval_us=DAY_US)
        assert len(found) == len(expected)
        assert all(map(close_to, found, expected))

    assert number >= 1
    assert await count(database, "rollup_stale") == 0


async def test_deleted_device_leaves_no_rollups(database: ReadingDatabase) -> None:
    store = await database.open()
    kept = await make_series(store, 1, device_id="kept")
    gone = await make_series(store, 1, device_id="gone")
    given = half_hourly([*kept, *gone])
    await append(store, given)
    await store.flush()
    await roll_up(store, MIDNIGHT_US + DAY_US)
    await append(store, [Given(gone[0].id, MIDNIGHT_US + 1, 5.0)])

    await store.delete_device("org", "gone")

    for table in ("rollup", "rollup_stale"):
        rows = await statement(database, f"SELECT DISTINCT series_id FROM {table}")  # noqa: S608
        assert [row[0] for row in rows] == [kept[0].id]
    found = await store.buckets([*kept, *gone], **FOREVER, interval_us=DAY_US)
    assert {bucket.series_id for bucket in found} == {kept[0].id}


async def test_shape_holds_the_extremes_and_no_more_points_than_asked_for(
    store: ReadingStoreUnderTest,
) -> None:
    series = await make_series(store, 2)
    given = half_hourly(series, days=2)
    given[50] = given[50]._replace(value=1e6)
    await append(store, [*given, Given(series[1].id, MIDNIGHT_US, text="no number")])

    shapes = await store.shapes(series, **FOREVER, points_max=20)

    assert [shape.series_id for shape in shapes] == [row.id for row in series]
    for shape in shapes:
        own = {row.ts_us: row.value for row in given if row.series_id == shape.series_id}
        assert 10 <= len(shape.ts_us) <= 20
        assert shape.ts_us == sorted(set(shape.ts_us))
        assert [own[ts_us] for ts_us in shape.ts_us] == shape.value
        assert (min(own.values()), max(own.values())) == (min(shape.value), max(shape.value))
        assert (shape.ts_us[0], shape.ts_us[-1]) == (min(own), max(own))


async def test_shape_of_few_readings_is_all_of_them(store: ReadingStoreUnderTest) -> None:
    series = await make_series(store, 2)
    given = half_hourly(series[:1], days=1)
    await append(store, given)

    (shape,) = await store.shapes(series, **FOREVER, points_max=48)

    assert shape.value == [row.value for row in given]
    assert await store.shapes(series, start_us=5, end_us=5, points_max=48) == []


async def test_shape_of_many_hours_is_chosen_from_rollups(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [
        Given(series.id, MIDNIGHT_US + at * MINUTE_US, math.sin(at / 700) * 10 + at % 7 / 10)
        for at in range(24 * 60 * DAYS)
    ]
    given[3_333] = given[3_333]._replace(value=99.0)
    await append(store, given)
    await store.flush()
    await roll_up(store)
    await statement(database, "DELETE FROM chunk")
    newer = Given(series.id, BEHIND_US + MINUTE_US, -50.0)
    await append(store, [newer])

    (shape,) = await store.shapes([series], **FOREVER, points_max=60)

    known = {row.ts_us: row.value for row in [*given, newer]}
    assert 30 <= len(shape.ts_us) <= 60
    assert [known[ts_us] for ts_us in shape.ts_us] == shape.value
    assert (max(shape.value), min(shape.value)) == (99.0, -50.0)
    assert (shape.ts_us[0], shape.ts_us[-1]) == (given[0].ts_us, newer.ts_us)


async def test_shape_of_the_largest_numbers_is_answered(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    largest = 1.7976931348623157e308
    given = [Given(series.id, MIDNIGHT_US + at, (-1) ** at * largest) for at in range(100)]
    await append(store, given)

    (shape,) = await store.shapes([series], **FOREVER, points_max=10)

    assert set(shape.value) == {largest, -largest}
