"""Forms of values that many routes take: times in every form, texts without NUL."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

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
    """Return the same instant in UTC. Raises ``ValueError`` beyond the calendar."""
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC this lies beyond the years 1 to 9999") from error


INSTANT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "number", "minimum": 0, "maximum": 4_102_444_800_000_000_000},
    ]
}
"""How an instant is written; a number says by its magnitude what it counts, here up to 2100."""

Instant = Annotated[
    datetime,
    BeforeValidator(read_instant),
    AfterValidator(as_utc),
    WithJsonSchema(INSTANT_SCHEMA),
]
