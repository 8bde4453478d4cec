"""The line through buckets: its slope, where it leads, and what cannot be said."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.domains.analytics.schemas import Direction, TrendAggregate
from fieldstation.domains.analytics.trends import (
    US_PER_DAY,
    Period,
    lines_through,
    trends,
)
from fieldstation.domains.telemetry.rendering import encode
from fieldstation.domains.telemetry.summaries import Bucket

MIDNIGHT_DAY = 20_800
LARGEST = 1.7976931348623157e308
DAILY = Period(MIDNIGHT_DAY * US_PER_DAY, (MIDNIGHT_DAY + 4) * US_PER_DAY, US_PER_DAY)


def line(
    *values: float, days: Sequence[int] | None = None
) -> tuple[float | None, Direction | None]:
    """Return slope and direction of one group, beside one without anything."""
    at = np.array(range(len(values)) if days is None else days, np.float64)
    counted = np.array([[True] * len(values), [False] * len(values)])
    with np.errstate(all="ignore"):
        slopes, directions = lines_through(at, np.array([values, values]), counted)
    assert (np.isnan(slopes[1]), directions[1]) == (True, None)
    return None if np.isnan(slopes[0]) else float(slopes[0]), directions[0]


def told(
    found: Sequence[Bucket],
    before: Sequence[Bucket] = (),
    *,
    period: Period = DAILY,
    aggregate: TrendAggregate = TrendAggregate.AVG,
) -> dict[str, Any]:
    """Return the trend of series 1 and 2 together, as a client sees it."""
    (group,) = trends(found, before, {1: [0], 2: [0]}, groups=1, period=period, aggregate=aggregate)
    return msgspec.json.decode(encode(group))


def earlier(*values: float) -> Bucket:
    return msgspec.structs.replace(bucket(0, *values), start_us=0)


def bucket(day: int, *values: float, series_id: int = 1) -> Bucket:
    return Bucket(
        series_id=series_id,
        start_us=(MIDNIGHT_DAY + day) * US_PER_DAY,
        count=len(values),
        total=math.fsum(values),
        deviations=0.0,
        minimum=min(values),
        maximum=max(values),
        first=values[0],
        last=values[-1],
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.floats(-1e6, 1e6)),
        min_size=2,
        max_size=60,
        unique_by=lambda point: point[0],
    )
)
def test_slope_is_that_of_least_squares(points: list[tuple[int, float]]) -> None:
    points.sort()
    slope, _ = line(*(value for _, value in points), days=[day for day, _ in points])
    expected = statistics.linear_regression(*zip(*points, strict=True)).slope
    assert slope is not None
    assert math.isclose(slope, expected, rel_tol=1e-6, abs_tol=1e-6)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_no_number_is_too_large_to_be_answered(values: list[float]) -> None:
    slope, direction = line(*values)
    assert (slope is None) == (len(values) < 2 or not all(map(math.isfinite, values)))
    assert slope is None or not math.isnan(slope)
    assert (direction is None) == (slope is None or len(values) < 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 2, 3), Direction.RISING),
        ((3, 2, 1), Direction.FALLING),
        ((-3, -2, -1.1, 0), Direction.RISING),
        ((10, 12, 11, 13, 12, 14, 13, 15), Direction.RISING),
        ((10, 14, 9, 15, 10, 14, 9, 15.5), Direction.STEADY),
        ((5, 5, 5, 5), Direction.STEADY),
        ((0, 0, 0), Direction.STEADY),
        ((0.1, 0.1, 0.1, 0.1 + 1e-16), Direction.STEADY),
        ((0.1, 0.1 + 1e-16, 0.1 + 2e-16), Direction.STEADY),
        ((1e-9, 2e-9, 3e-9), Direction.RISING),
        ((-LARGEST, 0, LARGEST), Direction.RISING),
        ((1, 2), None),
    ],
)
def test_direction_is_what_noise_does_not_make(
    values: tuple[float, ...], expected: Direction | None
) -> None:
    assert line(*values)[1] is expected


def test_the_standard_error_that_decides_is_the_textbook_s() -> None:
    for last, expected in ((3.5, Direction.STEADY), (4.0, Direction.RISING)):
        values = (0.0, 3.0, 2.0, last)
        fit = statistics.linear_regression(range(4), values)
        residuals = [y - fit.intercept - fit.slope * x for x, y in enumerate(values)]
        error = math.sqrt(sum(r * r for r in residuals) / 2 / 5)
        assert (fit.slope > 2 * error) == (expected is Direction.RISING)
        assert line(*values)[1] is expected


@pytest.mark.parametrize(
    ("value", "previous", "change", "relative"),
    [
        (3.0, 2.0, 1.0, 0.5),
        (-3.0, -2.0, -1.0, -0.5),
        (1.0, 0.0, 1.0, None),
        (0.0, 0.0, 0.0, None),
        (None, 2.0, None, None),
        (2.0, None, None, None),
    ],
)
def test_change_has_no_share_without_a_base(
    value: float | None, previous: float | None, change: float | None, relative: float | None
) -> None:
    answer = told(
        [] if value is None else [bucket(1, value)], [] if previous is None else [earlier(previous)]
    )
    assert (answer["value"], answer["previous_value"]) == (value, previous)
    assert (answer["change"], answer["relative_change"]) == (change, relative)


def test_buckets_without_readings_are_zero_for_sums_and_counts_alone() -> None:
    found = [bucket(0, 4.0, 6.0), bucket(2, 2.0)]
    shown = {
        aggregate: [one["value"] for one in told(found, aggregate=aggregate)["buckets"]]
        for aggregate in TrendAggregate
    }
    assert shown == {"avg": [5, 2], "min": [4, 2], "max": [6, 2], "sum": [10, 0, 2, 0]} | {
        "count": [2, 0, 1, 0]
    }


def test_what_stopped_is_compared_with_what_was() -> None:
    counted = told([], [earlier(1, 2, 3)], aggregate=TrendAggregate.COUNT)
    averaged = told([], [earlier(1, 2, 3)])
    assert (counted["value"], counted["change"], counted["relative_change"]) == (0, -3, -1)
    assert (averaged["value"], averaged["previous_value"], averaged["change"]) == (None, 2, None)
    assert averaged["buckets"] == []
    nothing = trends([], [], {}, groups=1, period=DAILY, aggregate=TrendAggregate.COUNT)
    assert list(nothing) == [None]


def test_series_are_joined_reading_by_reading() -> None:
    answer = told(
        [bucket(0, 1.0, 1.0, 1.0), bucket(0, 5.0, series_id=2), bucket(1, 3.0, series_id=2)]
    )
    assert [(one["value"], one["count"]) for one in answer["buckets"]] == [(2, 4), (3, 1)]
    assert answer["value"] == 11 / 5


def test_only_whole_buckets_make_the_line() -> None:
    """Of five days the first and the last lie in the period by half."""
    half = US_PER_DAY // 2
    period = Period(DAILY.start_us + half, DAILY.end_us + half, US_PER_DAY)
    found = [bucket(day, value) for day, value in enumerate((90.0, 1.0, 2.0, 3.0, 90.0))]
    answer = told(found, period=period, aggregate=TrendAggregate.MAX)
    assert (answer["slope_per_day"], answer["direction"]) == (pytest.approx(1), "rising")
    assert len(answer["buckets"]) == 5
