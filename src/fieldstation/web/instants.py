"""Forms of values that many routes take: times in every form, texts without NUL."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from fieldstation.core.clock import parse_text_time, parse_time, us_to_instant

NO_NUL = r"^[^\x00]*$"


def read_instant(given: object) -> object:
    """Read RFC 3339 with any offset, or epoch s, ms, µs, ns by magnitude, also as a text."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return given
    found = parse_text_time(given) if isinstance(given, str) else parse_time(given)
    try:
        if found is not None:
            return us_to_instant(found)
    except OverflowError:
        pass
    raise ValueError("use RFC 3339 or epoch seconds, ms, µs or ns")


def as_utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(read_instant), AfterValidator(as_utc)]
