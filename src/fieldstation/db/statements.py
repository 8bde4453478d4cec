"""Runs statements whose only answer is how many rows they changed, and inserts that may change."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import CursorResult, Result, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import UpdateBase

from fieldstation.db import mariadb
from fieldstation.db.base import Base

Changes = Sequence[tuple[str, Any]]
"""Columns and what they become. MariaDB carries them out one after the other, and each sees those
before it: name those last that others are decided by."""


def affected(result: Result[Any]) -> int:
    """Return how many rows an executed UPDATE or DELETE changed."""
    return cast(CursorResult[Any], result).rowcount


async def rows_changed(session: AsyncSession, statement: UpdateBase) -> int:
    """Execute an UPDATE or DELETE and return how many rows it changed."""
    result = await session.execute(statement)
    return affected(result)


def upsert(
    session: AsyncSession,
    model: type[Base],
    rows: Sequence[Mapping[str, Any]],
    *,
    changes: Callable[[Any], Changes],
    where: Callable[[Any], Any] | None = None,
) -> Any:  # each dialect has its own type
    """Return an INSERT that changes the rows whose primary key stands, in the session's dialect.

    ``changes`` and ``where`` get the columns of the rows to insert. Without changes, or where
    ``where`` is not true, a row that stands stays as it is.
    """
    keys = [column.key for column in model.__table__.primary_key]
    name = session.get_bind().dialect.name
    if name == mariadb.BACKEND:
        return _upsert_on_mariadb(model, rows, keys, changes, where)
    insert: Any = (postgresql if name == "postgresql" else sqlite).insert(model).values(rows)
    changed = dict(changes(insert.excluded))
    if not changed:
        return insert.on_conflict_do_nothing(index_elements=keys)
    condition = where(insert.excluded) if where is not None else None
    return insert.on_conflict_do_update(index_elements=keys, set_=changed, where=condition)


def _upsert_on_mariadb(
    model: type[Base],
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    changes: Callable[[Any], Changes],
    where: Callable[[Any], Any] | None,
) -> Any:
    # Loaded by stations on MariaDB only.
    from sqlalchemy.dialects import mysql  # noqa: PLC0415

    insert: Any = mysql.insert(model).values(rows)
    changed = list(changes(insert.inserted)) or [(keys[0], getattr(model, keys[0]))]
    if where is not None:
        condition = where(insert.inserted)
        changed = [
            (name, func.if_(condition, value, getattr(model, name))) for name, value in changed
        ]
    return insert.on_duplicate_key_update(changed)
