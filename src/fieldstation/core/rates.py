"""How often something may be done: a number of times in a window."""

import re
from dataclasses import dataclass

WINDOWS_S = {"s": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
WRITTEN = re.compile(r"\s*([1-9][0-9]{0,9})\s*(?:/|per)\s*([a-z]+?)s?\s*\Z")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``requests`` in ``window_s`` seconds; written ``100/minute``."""

    requests: int
    window_s: int

    def times(self, factor: int) -> "RateLimit":
        return RateLimit(self.requests * factor, self.window_s)

    def __str__(self) -> str:
        unit = {1: "second", 60: "minute", 3600: "hour"}.get(self.window_s, f"{self.window_s} s")
        return f"{self.requests}/{unit}"


def parse_rate(written: object) -> object:
    """Read a setting that may already be a rate. Raises ``ValueError``."""
    return read_rate(written) if isinstance(written, str) else written


def read_rate(written: str) -> RateLimit:
    """Read ``100/minute`` or ``10 per second``. Raises ``ValueError`` for other texts."""
    match = WRITTEN.match(written.lower())
    if match is None or match[2] not in WINDOWS_S:
        raise ValueError("write it as 100/minute, 10/second or 1000/hour")
    return RateLimit(int(match[1]), WINDOWS_S[match[2]])
