"""Checks of the time: plausible, behind nothing that is stored, and synchronised."""

import ctypes
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning
from fieldstation.core.clock import us_to_instant

NAME = "clock"
YEAR_MIN = 2025
FILE_AHEAD_MAX = timedelta(minutes=10)
READING_AHEAD_MAX = timedelta(days=1)
"""The intake takes readings up to a day ahead of the station's clock, and none beyond."""
TIMEX_BYTES = 512
"""More than struct timex has anywhere; all zero it asks and changes nothing."""
UNSYNCHRONISED = 5
ADVICE = (
    "Set the clock and let NTP keep it: readings without a time of their own get the station's."
)


def check_clock(
    now: datetime, *, newest_reading_us: int | None, newest_file_at: datetime | None
) -> Check:
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now.year < YEAR_MIN:
        return failure(NAME, f"It is said to be {shown}", ADVICE)
    if newest_file_at is not None and newest_file_at > now + FILE_AHEAD_MAX:
        return failure(
            NAME,
            f"It is said to be {shown}, but files were written {newest_file_at:%Y-%m-%d %H:%M:%S}",
            ADVICE,
        )
    if newest_reading_us is not None and us_to_instant(newest_reading_us) > now + READING_AHEAD_MAX:
        newest = us_to_instant(newest_reading_us)
        return warning(
            NAME,
            f"It is said to be {shown}, but the newest reading is of {newest:%Y-%m-%d %H:%M:%S}",
            ADVICE,
        )
    return ok(NAME, shown)


def newest_file_time(directory: Path) -> datetime | None:
    """Return when a file directly in the directory was last written."""
    try:
        times = [file.stat().st_mtime for file in directory.iterdir() if file.is_file()]
    except OSError:
        return None
    return datetime.fromtimestamp(max(times), UTC) if times else None


def check_synchronisation(state: int | None) -> Check:
    name = "clock synchronisation"
    if state is None or state < 0:
        return ok(name, "This computer does not say whether its clock is synchronised")
    if state == UNSYNCHRONISED:
        return warning(
            name,
            "The kernel says that nothing keeps this clock",
            "Turn NTP on, for example: timedatectl set-ntp true",
        )
    return ok(name, "The kernel says that the clock is synchronised")


def kernel_clock_state() -> int | None:
    """Ask the kernel: 5 is unsynchronised, negative a refusal, None where adjtimex(2) lacks."""
    ask = getattr(ctypes.CDLL(None), "adjtimex", None)
    return None if ask is None else int(ask(ctypes.create_string_buffer(TIMEX_BYTES)))
