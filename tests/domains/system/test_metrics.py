"""Requests are counted by template, and per minute over a window that moves."""

from datetime import UTC, datetime

from fieldstation.core.clock import ManualClock
from fieldstation.domains.system.metrics import RequestMetrics
from fieldstation.web.middleware import Observed

START = datetime(2026, 5, 1, tzinfo=UTC)
SEEN = Observed("GET", "/devices/{device_id}", 200, 0.004)


def test_requests_per_minute_forget_after_a_minute() -> None:
    clock = ManualClock(START)
    metrics = RequestMetrics(clock, list)
    for _ in range(3):
        metrics.observe(SEEN)
    clock.advance(30)
    metrics.observe(SEEN)
    assert metrics.requests_per_minute() == 4
    clock.advance(30)
    assert metrics.requests_per_minute() == 1
    clock.advance(60)
    assert metrics.requests_per_minute() == 0


def test_a_long_quiet_station_keeps_little() -> None:
    clock = ManualClock(START)
    metrics = RequestMetrics(clock, list)
    for _ in range(500):
        metrics.observe(SEEN)
        clock.advance(1)
    assert metrics.requests_per_minute() <= 60


def test_the_exposition_has_requests_times_and_the_station_s_own_numbers() -> None:
    readings = [("gauge", "fieldstation_x", "X.", 1.5), ("counter", "fieldstation_y", "Y.", 2.0)]
    metrics = RequestMetrics(ManualClock(START), lambda: readings)
    metrics.observe(SEEN)
    metrics.observe(SEEN._replace(status=404))
    text = metrics.exposition().decode()
    labels = 'endpoint="/devices/{device_id}",method="GET"'
    assert f'rover_api_requests_total{{{labels},status="200"}} 1.0' in text
    assert f'rover_api_requests_total{{{labels},status="404"}} 1.0' in text
    assert f"rover_api_request_duration_seconds_count{{{labels}}} 2.0" in text
    assert "fieldstation_x 1.5" in text
    assert "fieldstation_y_total 2.0" in text
