"""Rates are read as people write them."""

import pytest

from fieldstation.core.rates import RateLimit, parse_rate
from fieldstation.core.settings import SettingsError, read_settings


@pytest.mark.parametrize(
    ("written", "requests", "window_s"),
    [
        ("100/minute", 100, 60),
        ("5/min", 5, 60),
        ("10 per second", 10, 1),
        ("10 per seconds", 10, 1),
        (" 1000 / hour ", 1000, 3600),
        ("3/s", 3, 1),
    ],
)
def test_a_rate_is_a_number_in_a_window(written: str, requests: int, window_s: int) -> None:
    assert parse_rate(written) == RateLimit(requests, window_s)


@pytest.mark.parametrize("written", ["", "fast", "0/minute", "-1/s", "5/fortnight", "5", "5/"])
def test_anything_else_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(SettingsError, match="RATE_LIMIT_USER: write it as 100/minute"):
        read_settings({"RATE_LIMIT_USER": written or " "})


def test_a_rate_is_written_as_it_is_read() -> None:
    for written in ("100/minute", "10/second", "7/hour"):
        assert str(parse_rate(written)) == written
