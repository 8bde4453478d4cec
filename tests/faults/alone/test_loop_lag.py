"""The number that says how late the event loop is tells of a station that stood still."""

import signal
import time

from tests.clients import StationClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

STOPPED_S = 0.5
CALM_MS = 100.0


def test_a_loop_that_was_blocked_shows_how_long_and_calms_down(
    own_station: StationProcess,
) -> None:
    with StationClient(own_station.url) as client:
        client.sign_up()

        def lag_ms() -> float:
            return client.get("/api/v1/system/metrics")["event_loop_lag_ms"]

        wait_until_blocking(lambda: lag_ms() < CALM_MS)
        own_station.signal(signal.SIGSTOP)
        until = time.monotonic() + STOPPED_S
        wait_until_blocking(lambda: time.monotonic() >= until)
        own_station.signal(signal.SIGCONT)
        # The loop looks ten times a second: it may have been about to when it was stopped.
        wait_until_blocking(lambda: lag_ms() > (STOPPED_S - 0.2) * 1000)
        assert lag_ms() < STOPPED_S * 10_000
        wait_until_blocking(lambda: lag_ms() < CALM_MS)
