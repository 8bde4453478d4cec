"""Checks of the clock notice a time that cannot be."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fieldstation.adapters.diagnosis.clock import (
    check_clock,
    check_synchronisation,
    kernel_clock_state,
    newest_file_time,
)
from fieldstation.adapters.diagnosis.report import Verdict
from fieldstation.core.clock import instant_to_us

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def verdict(
    now: datetime, *, reading_at: datetime | None = None, file_at: datetime | None = None
) -> Verdict:
    newest_us = None if reading_at is None else instant_to_us(reading_at)
    return check_clock(now, newest_reading_us=newest_us, newest_file_at=file_at).verdict


def test_plausible_time_is_fine() -> None:
    assert verdict(NOW) is Verdict.OK
    assert verdict(NOW, reading_at=NOW + 23 * HOUR, file_at=NOW - HOUR) is Verdict.OK


def test_clock_without_a_battery_is_a_failure() -> None:
    assert verdict(datetime(1970, 1, 1, 0, 5, tzinfo=UTC)) is Verdict.FAILURE


def test_clock_behind_the_files_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "station.db"
    file.touch()
    os.utime(file, times=((NOW + HOUR).timestamp(),) * 2)

    assert newest_file_time(tmp_path) == NOW + HOUR
    assert verdict(NOW, file_at=newest_file_time(tmp_path)) is Verdict.FAILURE


def test_clock_behind_the_newest_reading_is_a_warning() -> None:
    assert verdict(NOW, reading_at=NOW + 25 * HOUR) is Verdict.WARNING


def test_directory_without_files_says_nothing_of_the_time(tmp_path: Path) -> None:
    assert newest_file_time(tmp_path) is None
    assert newest_file_time(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("state", "expected", "words"),
    [
        (0, Verdict.OK, "is synchronised"),
        (5, Verdict.WARNING, "nothing keeps this clock"),
        (-1, Verdict.OK, "does not say"),
        (None, Verdict.OK, "does not say"),
    ],
)
def test_synchronisation_is_as_the_kernel_says(
    state: int | None, expected: Verdict, words: str
) -> None:
    found = check_synchronisation(state)

    assert found.verdict is expected
    assert words in found.detail


def test_this_kernel_answers_with_a_state_that_exists() -> None:
    assert kernel_clock_state() in {None, -1, 0, 1, 2, 3, 4, 5}
