"""Pages by sort key: what is inserted meanwhile moves nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Select, String, and_, cast, or_
from sqlalchemy.orm import InstrumentedAttribute

from fieldstation.core.clock import instant_to_us

Row = TypeVar("Row")
Statement = TypeVar("Statement", bound=Select[*tuple[Any, ...]])
Ordered = tuple[ColumnElement[Any], bool]
"""A column, and whether it descends."""


@dataclass(frozen=True, slots=True)
class SortField(Generic[Row]):
    """What a list is sorted by: a column, and the same of a row that was read."""

    column: ColumnElement[Any]
    value: Callable[[Row], int | str]
    type: type


def by_instant(
    column: InstrumentedAttribute[datetime], value: Callable[[Row], datetime]
) -> SortField[Row]:
    """Sort by the microseconds that instants are stored as."""
    return SortField(cast(column, BigInteger), lambda row: instant_to_us(value(row)), int)


def by_text(column: InstrumentedAttribute[str], value: Callable[[Row], str]) -> SortField[Row]:
    return SortField(cast(column, String), value, str)


def sorted_behind(
    statement: Statement,
    fields: Sequence[tuple[str, bool]],
    after: Sequence[Any] | None,
    *,
    sortable: Mapping[str, SortField[Any]],
    row_id: InstrumentedAttribute[str],
) -> Statement:
    """Order a statement by named fields (True: descending) and begin strictly behind a key.

    The id decides between equals.
    """
    columns: list[Ordered] = [(sortable[name].column, descends) for name, descends in fields]
    columns.append((cast(row_id, String), fields[-1][1]))
    return behind(statement, columns, after)


def behind(
    statement: Statement, columns: Sequence[Ordered], after: Sequence[Any] | None
) -> Statement:
    """Order a statement by columns that are unique together and begin strictly behind a key."""
    if after is not None:
        equal: list[ColumnElement[bool]] = []
        steps: list[ColumnElement[bool]] = []
        for (column, descending), value in zip(columns, after, strict=True):
            beyond = column < value if descending else column > value
            steps.append(and_(*equal, beyond))
            equal.append(column == value)
        statement = statement.where(or_(*steps))
    return statement.order_by(
        *(column.desc() if descending else column.asc() for column, descending in columns)
    )
