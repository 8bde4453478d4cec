"""Where the station reads the time, and how it reads the times of others."""

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_IN_UTC = EPOCH.replace(tzinfo=None)
"""Without its zone, which would be half of the time it takes to write an instant."""


class Clock(Protocol):
    """Wall time for what is stored, monotonic time for what is waited for."""

    def now(self) -> datetime:
        """Return the current instant, aware, in UTC."""
        ...

    def now_us(self) -> int:
        """Return the current instant in microseconds since 1970-01-01T00:00Z."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        ...


class SystemClock:
    """The clock of this computer."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic_s = 0.0

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def now(self) -> datetime:
        return self._now

    def now_us(self) -> int:
        return instant_to_us(self._now)

    def monotonic(self) -> float:
        return self._monotonic_s


def instant_to_us(instant: datetime) -> int:
    """Convert an aware datetime to microseconds since the epoch, exactly."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def us_to_instant(microseconds: int) -> datetime:
    """Convert microseconds since the epoch to an aware UTC datetime, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)


def us_to_rfc3339(microseconds: int) -> str:
    """Render microseconds since the epoch as RFC 3339 with ``Z`` and six decimals; the years 1 to
    9999."""
    moment = EPOCH_IN_UTC + timedelta(microseconds=microseconds)
    return f"{moment.isoformat(timespec='microseconds')}Z"


def parse_time(value: int | float | str) -> int | None:
    """Return microseconds since the epoch, or None for what is no time.

    Numbers go by magnitude: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds,
    else nanoseconds.
    """
    if isinstance(value, str):
        return parse_written_time(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    size = abs(value)
    if size < 1e11:
        return round(value * 1_000_000)
    if size < 1e14:
        return round(value * 1_000)
    if size < 1e17:
        return int(value)
    return int(value) // 1_000


def parse_written_time(text: str) -> int | None:
    """Read RFC 3339; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return instant_to_us(moment)
    except (OverflowError, ValueError):
        return None


def parse_text_time(text: str) -> int | None:
    """Read a time of a query, where numbers are texts and an unescaped plus sign is a space."""
    for number in (int, float):
        try:
            return parse_time(number(text))
        except ValueError:
            continue
    return parse_written_time(text.replace(" ", "+"))
