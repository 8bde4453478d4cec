"""Buckets and statistics equal a recomputation, on every store."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

import pytest

from fieldstation.domains.telemetry.summaries import Bucket, SeriesStats
from tests.contracts.reading_databases import ReadingStoreUnderTest
from tests.contracts.readings import (
    DAY_US,
    FOREVER,
    HOUR_US,
    MINUTE_US,
    NOON_US,
    Given,
    append,
    make_series,
)

pytestmark = pytest.mark.anyio


def buckets_by_hand(rows: Sequence[Given], interval_us: int) -> list[Bucket]:
    groups: defaultdict[tuple[int, int], list[Given]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.ts_us):
        if row.text is None:
            groups[row.series_id, row.ts_us // interval_us * interval_us].append(row)
    return [bucket_by_hand(*key, [row.value for row in groups[key]]) for key in sorted(groups)]


def bucket_by_hand(series_id: int, start_us: int, values: list[float]) -> Bucket:
    return Bucket(
        series_id=series_id,
        start_us=start_us,
        count=len(values),
        total=math.fsum(values),
        deviations=deviations_by_hand(values),
        minimum=min(values),
        maximum=max(values),
        first=values[0],
        last=values[-1],
    )


def deviations_by_hand(values: list[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)


def stats_by_hand(rows: Sequence[Given]) -> SeriesStats:
    ordered = sorted((row for row in rows if row.text is None), key=lambda row: row.ts_us)
    values = [row.value for row in ordered]
    percentiles = (
        statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
    )
    return SeriesStats(
        series_id=ordered[0].series_id,
        count=len(values),
        minimum=min(values),
        maximum=max(values),
        mean=statistics.fmean(values),
        stddev=statistics.pstdev(values),
        first=values[0],
        last=values[-1],
        p50=percentiles[49],
        p95=percentiles[94],
        start_us=ordered[0].ts_us,
        end_us=ordered[-1].ts_us,
    )


def close_to(found: Bucket | SeriesStats, expected: Bucket | SeriesStats) -> bool:
    is_bucket = isinstance(expected, Bucket)
    return all(
        math.isclose(getattr(found, name), getattr(expected, name), rel_tol=1e-9, abs_tol=1e-9)
        for name in (Bucket.__struct_fields__ if is_bucket else SeriesStats.__slots__)
    )


@pytest.mark.parametrize("interval_us", [10_000_000, MINUTE_US, HOUR_US, DAY_US])
async def test_buckets_equal_a_recomputation(
    store: ReadingStoreUnderTest, interval_us: int
) -> None:
    series = await make_series(store, 2)
    given = [
        Given(series[at % 2].id, NOON_US + at * at * 1_111_111, math.sin(at) * 100)
        for at in range(200)
    ]
    await append(store, [*given, Given(series[0].id, NOON_US + 1, text="not a number")])

    found = await store.buckets(series, **FOREVER, interval_us=interval_us)

    expected = buckets_by_hand(given, interval_us)
    assert len(found) == len(expected)
    assert all(map(close_to, found, expected))


async def test_bucket_at_the_edge_holds_the_period_only(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at * MINUTE_US, float(at)) for at in range(180)]
    await append(store, given)

    found = await store.buckets(
        [series],
        start_us=NOON_US + 30 * MINUTE_US,
        end_us=NOON_US + 90 * MINUTE_US,
        interval_us=HOUR_US,
    )

    assert [(bucket.start_us, bucket.count, bucket.first) for bucket in found] == [
        (NOON_US, 30, 30.0),
        (NOON_US + HOUR_US, 30, 60.0),
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 20, 21, 101])
async def test_stats_equal_a_recomputation(store: ReadingStoreUnderTest, count: int) -> None:
    series = await make_series(store, 3)
    given = [
        Given(row.id, NOON_US + at * 17 * MINUTE_US, math.cos(at + row.id) * 1e3 + 1e6)
        for at in range(count)
        for row in series[:2]
    ]
    await append(store, [*given, Given(series[2].id, NOON_US, text="only text")])

    found = await store.stats(series, **FOREVER)

    assert [one.series_id for one in found] == [series[0].id, series[1].id]
    for one in found:
        rows = [row for row in given if row.series_id == one.series_id]
        assert close_to(one, stats_by_hand(rows))


async def test_many_series_aggregate_the_same(store: ReadingStoreUnderTest) -> None:
    series = await make_series(store, 220)
    given = [
        Given(row.id, NOON_US + at * 31 * MINUTE_US, row.id / 7 + at)
        for at in range(5)
        for row in series
    ]
    await append(store, given)

    buckets = await store.buckets(series, **FOREVER, interval_us=HOUR_US)
    stats = await store.stats(series, **FOREVER)

    expected = buckets_by_hand(given, HOUR_US)
    assert len(buckets) == len(expected)
    assert all(map(close_to, buckets, expected))
    assert len(stats) == len(series)
    rows = [row for row in given if row.series_id == stats[3].series_id]
    assert close_to(stats[3], stats_by_hand(rows))


async def test_nothing_to_aggregate(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)

    assert await store.buckets([series], **FOREVER, interval_us=HOUR_US) == []
    assert await store.stats([series], **FOREVER) == []
    assert await store.stats([], **FOREVER) == []
    for start_us in (5, HOUR_US, 2 * HOUR_US):
        backwards = {"start_us": start_us, "end_us": 5}
        assert await store.buckets([series], **backwards, interval_us=HOUR_US) == []
        assert await store.stats([series], **backwards) == []
        assert await store.shapes([series], **backwards, points_max=9) == []


async def test_huge_values_leave_the_others_answerable(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    largest = 1.7976931348623157e308
    given = [
        Given(series.id, NOON_US + at, value) for at, value in enumerate([-largest, 1.0, largest])
    ]
    await append(store, given)

    (bucket,) = await store.buckets([series], **FOREVER, interval_us=HOUR_US)
    (summary,) = await store.stats([series], **FOREVER)

    assert (bucket.count, bucket.minimum, bucket.maximum) == (3, -largest, largest)
    assert (bucket.total, bucket.deviations) == (math.inf, math.inf)
    assert (summary.p50, summary.mean, summary.stddev) == (1.0, math.inf, math.inf)
