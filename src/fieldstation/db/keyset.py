"""Pages by sort key: what is inserted meanwhile moves nothing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_

Ordered = tuple[ColumnElement[Any], bool]
"""A column, and whether it descends."""


def behind(
    statement: Select[Any], columns: Sequence[Ordered], after: Sequence[Any] | None
) -> Select[Any]:
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
