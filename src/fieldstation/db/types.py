"""Column types that mean the same on every database."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import VARBINARY, BigInteger, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from fieldstation.core.clock import instant_to_us, us_to_instant
from fieldstation.db import mariadb


class UtcInstant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds since the epoch: exact and sortable."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - SQLAlchemy's
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored instant must be aware")
        return instant_to_us(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else us_to_instant(int(value)).astimezone(UTC)


class KeyText(TypeDecorator[str]):
    """A text of at most ``bytes_max`` bytes that is part of a long key.

    On MariaDB it is stored as these bytes: there a key may have 3,072 bytes, and a character of a
    VARCHAR counts as four.
    """

    impl = String
    cache_ok = True

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self.bytes_max = bytes_max

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == mariadb.BACKEND:
            return dialect.type_descriptor(VARBINARY(self.bytes_max))
        return dialect.type_descriptor(self.impl_instance)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        if value is not None and dialect.name == mariadb.BACKEND:
            return value.encode()
        return value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        return value.decode() if isinstance(value, bytes) else value
