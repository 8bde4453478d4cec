"""The number that says how late the event loop is tells of a station that stood still."""

import signal
import time

from fieldstation.core.limits import BODY_BYTES_MAX, ROUTE_BODY_BYTES_MAX, ROUTE_BODY_VALUES_MAX
from tests.clients import StationClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

STOPPED_S = 0.5
CALM_MS = 100.0
HELD_UP_MS = 1_000.0
"""10 MiB of unknown fields held the loop for 6,000."""


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


def keys(count: int) -> bytes:
    return b'{"name":"x",%b}' % b",".join(b'"k%06d":1' % number for number in range(count))


def test_large_bodies_of_a_known_caller_hold_nobody_up(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        client.sign_up()

        def lag_ms() -> float:
            return client.get("/api/v1/system/metrics")["event_loop_lag_ms"]

        for body, status in (
            (keys(BODY_BYTES_MAX // len('"k000000":1,') - 10), 413),
            (keys(ROUTE_BODY_BYTES_MAX // len('"k000000":1,') - 10), 413),
            (keys(ROUTE_BODY_VALUES_MAX - 1), 422),
        ):
            wait_until_blocking(lambda: lag_ms() < CALM_MS)
            headers = {"Content-Type": "application/json", "Idempotency-Key": str(len(body))}
            answer = client.http.post("/api/v1/devices", content=body, headers=headers)
            assert answer.status_code == status
            assert lag_ms() < HELD_UP_MS
