"""Growth under rules, held against a disk that is counted day by day."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.domains.retention.projecting import (
    HORIZON_DAYS,
    Part,
    after,
    days_until,
    steady,
)

parts = st.builds(
    Part,
    stored=st.integers(0, 10_000).map(float),
    days=st.integers(1, 40).map(float),
    per_day=st.integers(0, 500).map(float),
    kept_days=st.none() | st.integers(1, 60),
)


def counted(part: Part, days: int) -> float:
    """Count the bytes of each day that is still there after so many."""
    per_old_day = part.stored / part.days
    by_age = [per_old_day] * int(part.days)
    for _ in range(days):
        by_age = [part.per_day, *by_age]
    return sum(by_age if part.kept_days is None else by_age[: part.kept_days])


@given(part=parts, days=st.integers(0, 100))
def test_it_is_what_a_count_of_days_comes_to(part: Part, days: int) -> None:
    assert part.after(days) == pytest.approx(counted(part, days), abs=1e-6)


@given(all_parts=st.lists(parts, max_size=4))
def test_it_ends_where_nothing_is_kept_forever_and_grows(all_parts: list[Part]) -> None:
    limit = steady(all_parts)
    if any(part.kept_days is None and part.per_day for part in all_parts):
        assert limit is None
    else:
        expected = sum(counted(part, 200) for part in all_parts)
        assert limit == pytest.approx(expected, abs=1e-6)


@given(all_parts=st.lists(parts, max_size=4), grown_by=st.integers(1, 30_000))
def test_the_day_of_a_full_disk_is_the_first_one(all_parts: list[Part], grown_by: int) -> None:
    now = sum(part.stored for part in all_parts)
    found = days_until(all_parts, grown_by=grown_by)
    if found is None:
        assert after(all_parts, HORIZON_DAYS) < now + grown_by
        assert all(after(all_parts, day) < now + grown_by for day in range(200))
    else:
        assert after(all_parts, found) == pytest.approx(now + grown_by, rel=1e-9)
        assert all(
            after(all_parts, day) < now + grown_by + 1e-6 for day in range(min(200, int(found)))
        )


def test_readings_of_a_month_with_rollups_forever() -> None:
    readings = Part(stored=300.0, days=30.0, per_day=10.0, kept_days=30)
    rollups = Part(stored=30.0, days=30.0, per_day=1.0, kept_days=None)
    assert after([readings, rollups], 365) == 300 + 30 + 365
    assert steady([readings]) == 300
    assert steady([readings, rollups]) is None
    assert days_until([readings, rollups], grown_by=100) == pytest.approx(100)
    assert days_until([readings], grown_by=100) is None


def test_a_shorter_rule_first_gives_space_back() -> None:
    readings = Part(stored=300.0, days=30.0, per_day=10.0, kept_days=10)
    assert after([readings], 0) == 100
    assert days_until([readings], grown_by=1) is None
