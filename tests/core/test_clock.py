"""Instants and microseconds convert without losing one."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.clock import (
    ManualClock,
    SystemClock,
    instant_to_us,
    us_to_instant,
    us_to_rfc3339,
)

FIRST_US = -62_135_596_800_000_000  # 0001-01-01
LAST_US = 253_402_300_799_999_999  # 9999-12-31
# A database and a device live in this span; beyond it nothing is ever stored.
instants_us = st.integers(0, 4_102_444_800_000_000)


@given(instants_us)
def test_microseconds_survive_a_round_trip(us: int) -> None:
    assert instant_to_us(us_to_instant(us)) == us


@given(st.integers(FIRST_US + 86_400_000_000, LAST_US - 86_400_000_000))
def test_every_instant_that_python_knows_converts_exactly(us: int) -> None:
    assert instant_to_us(us_to_instant(us)) == us


@given(instants_us, st.integers(-14 * 60, 14 * 60))
def test_an_offset_does_not_move_an_instant(us: int, offset_minutes: int) -> None:
    abroad = us_to_instant(us).astimezone(timezone(timedelta(minutes=offset_minutes)))
    assert instant_to_us(abroad) == us


@given(instants_us)
def test_rfc3339_has_six_decimals_and_reads_back(us: int) -> None:
    text = us_to_rfc3339(us)
    assert len(text) == len("2026-05-01T12:00:00.000000Z")
    assert text.endswith("Z")
    assert instant_to_us(datetime.fromisoformat(text)) == us


def test_years_before_1000_keep_four_digits() -> None:
    assert us_to_rfc3339(FIRST_US) == "0001-01-01T00:00:00.000000Z"


def test_the_system_clock_agrees_with_itself() -> None:
    clock = SystemClock()
    before, now, after = clock.now_us(), clock.now(), clock.now_us()
    assert before <= instant_to_us(now) <= after
    assert now.tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


@pytest.mark.parametrize("seconds", [0.5, 61.0, 86_400.0])
def test_a_manual_clock_moves_only_when_told_to(seconds: float) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    clock = ManualClock(start)
    assert clock.now() == start
    assert clock.monotonic() == 0
    clock.advance(seconds)
    assert clock.now() == start + timedelta(seconds=seconds)
    assert clock.now_us() == instant_to_us(clock.now())
    assert clock.monotonic() == seconds
