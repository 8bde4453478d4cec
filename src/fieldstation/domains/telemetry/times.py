"""The instants of readings: those that bodies give, and those that the station assigns."""

from fieldstation.core.clock import parse_time
from fieldstation.domains.telemetry.catalog import Series
from fieldstation.domains.telemetry.payloads import check_time


class ReadTimes(dict[int | float | str | None, int]):
    """The times of one body, each read once: the sensors of one sample share theirs.

    0: not acceptable, or none.
    """

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def __missing__(self, time: int | float | str | None) -> int:
        ts_us = None if time is None else parse_time(time)
        if ts_us is None or check_time(ts_us, self.now_us) is not None:
            ts_us = 0
        self[time] = ts_us
        return ts_us


def assign_time(series: Series, now_us: int) -> int:
    """Return a time of receipt that is new to the series: strictly behind every one assigned
    before."""
    ts_us = now_us if now_us > series.assigned_us else series.assigned_us + 1
    if ts_us == series.last_us:
        ts_us += 1
    series.assigned_us = ts_us
    return ts_us
