"""What is older than wanted goes, and rollups answer in its place, on every store."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from fieldstation.domains.telemetry.ports import LastValue, SeriesRow
from fieldstation.domains.telemetry.store.rollups import RollupLimits
from tests.contracts.expiries import expire, floors_in, is_odd, odd
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    DAY_US,
    FOREVER,
    HOUR_US,
    Given,
    append,
    everything,
    make_series,
)
from tests.contracts.seals import AT_ONCE, demand_sealed_apart, seal_all, sealed_counts
from tests.contracts.store_insides import rows_in, stored_in
from tests.contracts.test_reading_store_aggregates import buckets_by_hand, close_to, stats_by_hand
from tests.contracts.test_reading_store_flush import as_stored
from tests.contracts.test_reading_store_rollups import (
    BEHIND_US,
    DAYS,
    MIDNIGHT_US,
    half_hourly,
    roll_up,
)

pytestmark = pytest.mark.anyio

CUT_US = MIDNIGHT_US + 2 * DAY_US


async def keep(store: ReadingStoreUnderTest, rows: Sequence[Given], *, seals: bool = False) -> None:
    """Append, flush, seal if wanted and roll up."""
    await append(store, rows)
    await store.flush()
    if seals:
        await seal_all(store)
    await roll_up(store)


async def answers(store: ReadingStoreUnderTest, series: Sequence[SeriesRow]) -> list[Any]:
    """Ask what rollups can tell."""
    return [
        await store.buckets(series, **FOREVER, interval_us=HOUR_US),
        await store.buckets(series, **FOREVER, interval_us=3 * HOUR_US),
        await store.buckets(series, **FOREVER, interval_us=DAY_US),
        await store.buckets(
            series, start_us=MIDNIGHT_US + HOUR_US, end_us=BEHIND_US, interval_us=DAY_US
        ),
        await store.stats(series, **FOREVER),
    ]


@pytest.mark.parametrize("seals", [False, True], ids=["in chunks", "sealed"])
async def test_readings_go_and_whole_hours_and_days_answer_as_before(
    database: ReadingDatabase, seals: bool
) -> None:
    database.seal_limits = AT_ONCE
    database.rollup_limits = RollupLimits(exact_readings_max=0)
    store = await database.open()
    series = await make_series(store, 3)
    given = odd(half_hourly(series))
    await keep(store, given, seals=seals)
    before = await answers(store, series)
    stays = [row for row in given if row.ts_us >= CUT_US]

    assert await expire(store, series, CUT_US + DAY_US - 1) > 0

    assert await answers(store, series) == before
    assert await everything(store, series) == stays
    assert await stored_in(database) == as_stored(stays)
    assert (await store.totals()).readings == len(stays)
    assert (await store.totals()).oldest_us == stays[0].ts_us
    details = await rows_in(database, "SELECT series_id, ts FROM reading_detail")
    assert set(details) == {row[:2] for row in stays if is_odd(row)}
    assert await floors_in(database) == {row.id: CUT_US for row in series}
    await demand_sealed_apart(database)
    assert await expire(store, series, CUT_US) == 0
    await store.close()
    assert await answers(await database.open(), series) == before


async def test_a_sealed_chunk_over_the_day_is_made_anew_for_what_stays(
    database: ReadingDatabase,
) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    (series,) = await make_series(store, 1)
    await keep(store, half_hourly([series]), seals=True)
    assert await sealed_counts(database) == [48 * DAYS]

    await expire(store, [series], CUT_US)

    assert await sealed_counts(database) == [48 * (DAYS - 2)]


async def test_nothing_goes_before_it_is_rolled_up(database: ReadingDatabase) -> None:
    store = await database.open()
    one, other, third = series = await make_series(store, 3)
    given = half_hourly(series)
    await append(store, given)
    await store.flush()
    assert await expire(store, series, CUT_US) == 0, "no rollups at all"
    await roll_up(store, CUT_US - HOUR_US)
    assert await expire(store, series, CUT_US) == 0, "all but the last hour"
    await roll_up(store, CUT_US)
    late = [Given(one.id, MIDNIGHT_US + 5, 70.0), Given(other.id, CUT_US - 5, 80.0)]
    await append(store, late[:1])
    await store.flush()
    await append(store, late[1:])

    await expire(store, series, CUT_US)

    floors = {one.id: 0, other.id: 0, third.id: CUT_US}
    assert await floors_in(database) == floors, "one is marked, and other is in memory"
    stays = [row for row in [*given, *late] if row.ts_us >= floors[row.series_id]]
    assert await stored_in(database) == as_stored(stays)
    found = await store.buckets(series, **FOREVER, interval_us=DAY_US)
    expected = buckets_by_hand([*given, *late], DAY_US)
    assert all(map(close_to, found, expected))

    await store.flush()
    await roll_up(store, CUT_US)
    await expire(store, series, CUT_US)

    assert await floors_in(database) == {row.id: CUT_US for row in series}
    found = await store.buckets(series, **FOREVER, interval_us=DAY_US)
    assert all(map(close_to, found, expected))


@pytest.mark.parametrize("seals", [False, True], ids=["in chunks", "sealed"])
async def test_a_late_reading_changes_no_rollup_and_goes_with_the_next_slice(
    database: ReadingDatabase, seals: bool
) -> None:
    database.seal_limits = AT_ONCE
    database.rollup_limits = RollupLimits(exact_readings_max=0)
    store = await database.open()
    series = await make_series(store, 2)
    given = half_hourly(series)
    await keep(store, given)
    before = await answers(store, series)
    await expire(store, series, CUT_US)
    rollups = await rows_in(database, "SELECT * FROM rollup ORDER BY 1, 2, 3")
    late = [Given(series[0].id, MIDNIGHT_US + 7 * HOUR_US + at, 1e6) for at in range(3)]

    assert await append(store, late) is None
    assert await answers(store, series) == before
    await store.flush()
    assert await answers(store, series) == before
    if seals:
        await seal_all(store)
    await roll_up(store)

    assert await answers(store, series) == before
    assert await rows_in(database, "SELECT * FROM rollup ORDER BY 1, 2, 3") == rollups
    assert await rows_in(database, "SELECT * FROM rollup_stale") == []
    assert await expire(store, series, CUT_US) > 0
    stays = [row for row in given if row.ts_us >= CUT_US]
    assert await stored_in(database) == as_stored(stays)
    assert (await store.totals()).readings == len(stays)
    assert await answers(store, series) == before


async def test_a_late_reading_of_a_day_that_is_kept_is_rolled_up(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = half_hourly([series])
    await keep(store, given)
    await expire(store, [series], CUT_US)
    late = Given(series.id, CUT_US - HOUR_US, 1e6)
    kept = Given(series.id, CUT_US, 6.0)
    assert await append(store, [late, kept]) is None
    await store.flush()
    await roll_up(store)

    found = await store.buckets([series], **FOREVER, interval_us=DAY_US)
    expected = buckets_by_hand([*given, kept], DAY_US)
    assert len(found) == len(expected)
    assert all(map(close_to, found, expected))


async def test_percentiles_of_days_whose_readings_are_gone_come_from_their_sketches(
    store: ReadingStoreUnderTest,
) -> None:
    one, other = series = await make_series(store, 2)
    given = half_hourly(series)
    await keep(store, given)
    await expire(store, [one], CUT_US)

    found = await store.stats(series, **FOREVER)
    newer = await store.stats(series, start_us=CUT_US, end_us=BEHIND_US)

    for summary in found:
        own = stats_by_hand([row for row in given if row.series_id == summary.series_id])
        assert (summary.count, summary.first, summary.minimum) == (
            own.count,
            own.first,
            own.minimum,
        )
        assert math.isclose(summary.p50, own.p50, rel_tol=0.0101)
        assert math.isclose(summary.p95, own.p95, rel_tol=0.0101)
        assert close_to(summary, own) == (summary.series_id == other.id), "few are ranked exactly"
    for summary in newer:
        own = [r for r in given if r.series_id == summary.series_id and r.ts_us >= CUT_US]
        assert close_to(summary, stats_by_hand(own)), "nothing of that is gone"


async def test_statistics_of_parts_of_days_that_are_gone_are_of_the_whole_days_between(
    store: ReadingStoreUnderTest,
) -> None:
    (series,) = await make_series(store, 1)
    given = half_hourly([series])
    await keep(store, given)
    await expire(store, [series], CUT_US)

    (found,) = await store.stats([series], start_us=MIDNIGHT_US + HOUR_US, end_us=BEHIND_US)

    own = [row for row in given if row.ts_us >= MIDNIGHT_US + DAY_US]
    assert (found.count, found.start_us) == (len(own), own[0].ts_us)


async def test_a_floor_stays_when_more_is_to_be_kept_again(database: ReadingDatabase) -> None:
    database.rollup_limits = RollupLimits(exact_readings_max=0)
    store = await database.open()
    series = await make_series(store, 2)
    given = half_hourly(series)
    await keep(store, given)
    before = await answers(store, series)
    await expire(store, series, CUT_US)
    late = Given(series[0].id, MIDNIGHT_US + 5, 1e6)
    await append(store, [late, late._replace(ts_us=CUT_US - 1)])
    await store.flush()

    await expire(store, series, CUT_US - DAY_US)
    await roll_up(store)

    assert await floors_in(database) == {row.id: CUT_US for row in series}
    stays = [row for row in given if row.ts_us >= CUT_US]
    assert await stored_in(database) == as_stored([late._replace(ts_us=CUT_US - 1), *stays])
    assert await answers(store, series) == before


async def test_rollups_go_by_days_once_their_readings_are_gone(database: ReadingDatabase) -> None:
    database.rollup_limits = RollupLimits(exact_readings_max=0)
    store = await database.open()
    one, other = series = await make_series(store, 2)
    given = half_hourly(series)
    await keep(store, given)
    await expire(store, [one], CUT_US)

    assert await expire(store, series, None, BEHIND_US) > 0

    left = [row for row in given if row.series_id == other.id or row.ts_us >= CUT_US]
    for interval_us in (HOUR_US, DAY_US):
        found = await store.buckets(series, **FOREVER, interval_us=interval_us)
        expected = buckets_by_hand(left, interval_us)
        assert len(found) == len(expected)
        assert all(map(close_to, found, expected))
    assert [one.count for one in await store.stats(series, **FOREVER)] == [48 * 2, 48 * DAYS]
    assert await expire(store, series, None, BEHIND_US) == 0

    await expire(store, series, BEHIND_US, CUT_US + 2 * DAY_US - 1)

    found = await store.buckets(series, **FOREVER, interval_us=DAY_US)
    assert [bucket.start_us for bucket in found] == [BEHIND_US - DAY_US] * 2
    assert [one.count for one in await store.stats(series, **FOREVER)] == [48, 48]
    await expire(store, series, BEHIND_US, BEHIND_US)
    assert await rows_in(database, "SELECT * FROM rollup") == []
    assert await store.buckets(series, **FOREVER, interval_us=DAY_US) == []


async def test_days_of_two_blocks_go_and_the_rest_of_the_block_stays(
    database: ReadingDatabase,
) -> None:
    database.rollup_limits = RollupLimits(exact_readings_max=0)
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [
        Given(series.id, MIDNIGHT_US + day * DAY_US + hour * HOUR_US, float(day + hour))
        for day in range(40)
        for hour in (3, 20)
    ]
    behind_us = MIDNIGHT_US + 40 * DAY_US
    await append(store, given)
    await store.flush()
    await roll_up(store, behind_us)
    await expire(store, [series], behind_us)

    for days in (1, 33, 35, 40):
        cut_us = MIDNIGHT_US + days * DAY_US
        await expire(store, [series], behind_us, cut_us)
        left = [row for row in given if row.ts_us >= cut_us]
        found = await store.buckets([series], **FOREVER, interval_us=DAY_US)
        assert found == buckets_by_hand(left, DAY_US)
        for one in await store.stats([series], **FOREVER):
            own = stats_by_hand(left)
            assert (one.count, one.first) == (own.count, own.first)
            assert math.isclose(one.p50, own.p50, rel_tol=0.0101)
    assert await rows_in(database, "SELECT * FROM rollup") == []


async def test_shapes_hold_the_extremes_of_hours_whose_readings_are_gone(
    store: ReadingStoreUnderTest,
) -> None:
    (series,) = await make_series(store, 1)
    given = half_hourly([series])
    given[30] = given[30]._replace(value=99.0)
    await keep(store, given)
    await expire(store, [series], CUT_US)
    known = {row.ts_us: row.value for row in given}

    for points_max in (60, 10_000):
        (shape,) = await store.shapes([series], **FOREVER, points_max=points_max)
        assert [known[ts_us] for ts_us in shape.ts_us] == shape.value
        assert shape.ts_us == sorted(set(shape.ts_us))
        assert (shape.ts_us[0], shape.ts_us[-1]) == (given[0].ts_us, given[-1].ts_us)
        assert max(shape.value) == 99.0
    assert len(shape.ts_us) == len(given), "two readings an hour are its first and last"


async def test_what_is_known_of_a_series_stays_when_all_its_readings_go(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = half_hourly([series])
    await keep(store, given)
    last = LastValue(series.id, given[-1].ts_us, given[-1].value, 0, None, given[-1].ts_us)
    await store.save_last_values([last], seq=1)

    await expire(store, [series], BEHIND_US, BEHIND_US)

    assert (await store.load_last_values())[0] == [last]
    assert await everything(store, [series]) == []
    (found,) = await store.resolve_series([series.key])
    assert (found.id, found.last_us) == (series.id, None)
    newer = Given(series.id, BEHIND_US, 3.5)
    assert await append(store, [newer]) is None
    assert await everything(store, [series]) == [newer]
    (found,) = await store.resolve_series([series.key])
    assert found.last_us == BEHIND_US


async def test_a_device_whose_readings_are_gone_is_deleted(database: ReadingDatabase) -> None:
    store = await database.open()
    gone = await make_series(store, 1, device_id="gone")
    kept = await make_series(store, 1, device_id="kept")
    given = odd(half_hourly([*gone, *kept]))
    await keep(store, given)
    await expire(store, gone, CUT_US)

    await store.delete_device("org", "gone")

    stays = [row for row in given if row.series_id == kept[0].id]
    assert await stored_in(database) == as_stored(stays)
    assert (await store.totals()).readings == len(stays)
    assert await expire(store, [*gone, *kept], CUT_US) > 0
    for table in ("rollup", "reading_detail", "series"):
        name = "id" if table == "series" else "series_id"
        rows = await rows_in(database, f"SELECT DISTINCT {name} FROM {table}")  # noqa: S608
        assert rows == [(kept[0].id,)]
