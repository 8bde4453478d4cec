"""Forms of values that many routes take: times with any offset, texts without NUL."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator

NO_NUL = r"^[^\x00]*$"


def as_utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(as_utc)]
