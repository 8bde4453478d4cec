"""Buckets become rows: the aggregates that were asked for, gaps filled as asked."""

import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.errors import Invalid
from fieldstation.domains.telemetry.bucketing import (
    BUCKETS_MAX,
    bucket_rows,
    check_bucket_count,
    parse_aggregates,
    parse_interval,
)
from fieldstation.domains.telemetry.ports import SeriesKey, SeriesRow
from fieldstation.domains.telemetry.schemas import Aggregate, Fill
from fieldstation.domains.telemetry.summaries import Bucket

MINUTE_US = 60_000_000
ROW = SeriesRow(1, SeriesKey("o", "d", "t", "s"), (), None)


def bucket(minute: int, values: list[float], series_id: int = 1) -> Bucket:
    return Bucket(
        series_id=series_id,
        start_us=minute * MINUTE_US,
        count=len(values),
        total=sum(values),
        deviations=sum((value - sum(values) / len(values)) ** 2 for value in values),
        minimum=min(values),
        maximum=max(values),
        first=values[0],
        last=values[-1],
    )


def rows(
    *buckets: Bucket, aggregates: tuple[Aggregate, ...] = (Aggregate.AVG,), fill: Fill = Fill.NONE
) -> list[dict[str, Any]]:
    return bucket_rows(buckets, [ROW], aggregates=aggregates, fill=fill, interval_us=MINUTE_US)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("30s", 30), ("5m", 300), ("1h", 3_600), ("1d", 86_400), ("2w", 1_209_600)],
)
def test_intervals_are_read(text: str, seconds: int) -> None:
    assert parse_interval(text) == seconds * 1_000_000


@pytest.mark.parametrize(
    "text", ["", "5", "m", "0m", "-5m", "1.5h", "5 m", "1y", "1000000s", "5m\n"]
)
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="interval"):
        parse_interval(text)


def test_aggregates_are_read() -> None:
    assert parse_aggregates("avg, max") == [Aggregate.AVG, Aggregate.MAX]
    with pytest.raises(Invalid, match="stddev"):
        parse_aggregates("avg,median")
    with pytest.raises(Invalid):
        parse_aggregates("")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_every_aggregate_is_that_of_the_values(values: list[float]) -> None:
    (row,) = rows(bucket(3, values), aggregates=tuple(Aggregate))
    assert row["start"] == "1970-01-01T00:03:00.000000Z"
    assert row["count"] == len(values)
    assert (row["min"], row["max"]) == (min(values), max(values))
    assert (row["first"], row["last"]) == (values[0], values[-1])
    assert math.isclose(row["sum"], math.fsum(values), rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(row["avg"], statistics.fmean(values), rel_tol=1e-9, abs_tol=1e-6)
    # From a sum of squares: exact to a few millionths of the values themselves.
    slack = 1e-6 * max(abs(value) for value in values) + 1e-9
    assert math.isclose(row["stddev"], statistics.pstdev(values), rel_tol=1e-6, abs_tol=slack)


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (Fill.NONE, [10, 40]),
        (Fill.NULL, [10, None, None, 40]),
        (Fill.PREVIOUS, [10, 10, 10, 40]),
        (Fill.LINEAR, [10, 20, 30, 40]),
    ],
)
def test_gaps_are_filled_between_two_buckets(fill: Fill, expected: list[float | None]) -> None:
    found = rows(bucket(0, [10]), bucket(3, [40]), fill=fill)
    assert [row["avg"] for row in found] == expected
    assert [row["start"][14:16] for row in found] == (
        ["00", "03"] if fill is Fill.NONE else ["00", "01", "02", "03"]
    )


@pytest.mark.parametrize("fill", [Fill.NULL, Fill.PREVIOUS, Fill.LINEAR])
def test_nothing_was_counted_in_a_gap(fill: Fill) -> None:
    found = rows(bucket(0, [1, 2]), bucket(2, [1]), aggregates=(Aggregate.COUNT,), fill=fill)
    assert [row["count"] for row in found] == [2, 0, 1]


def test_series_are_kept_apart() -> None:
    other = SeriesRow(2, SeriesKey("o", "d", "t", "other"), (), None)
    found = bucket_rows(
        [bucket(0, [1]), bucket(9, [2], series_id=2)],
        [ROW, other],
        aggregates=[Aggregate.AVG],
        fill=Fill.NULL,
        interval_us=MINUTE_US,
    )
    assert [(row["sensor_id"], row["avg"]) for row in found] == [("s", 1), ("other", 2)]


def test_more_buckets_than_anybody_reads_are_refused() -> None:
    check_bucket_count(start_us=0, end_us=BUCKETS_MAX - 1, interval_us=1, series=1)
    with pytest.raises(Invalid, match="take a longer one"):
        check_bucket_count(start_us=0, end_us=BUCKETS_MAX, interval_us=1, series=1)
    with pytest.raises(Invalid):
        check_bucket_count(start_us=0, end_us=BUCKETS_MAX, interval_us=2, series=2)
