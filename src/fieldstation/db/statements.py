"""Runs statements whose only answer is how many rows they changed."""

from typing import Any, cast

from sqlalchemy import CursorResult, Result
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import UpdateBase


def affected(result: Result[Any]) -> int:
    """Return how many rows an executed UPDATE or DELETE changed."""
    return cast(CursorResult[Any], result).rowcount


async def rows_changed(session: AsyncSession, statement: UpdateBase) -> int:
    """Execute an UPDATE or DELETE and return how many rows it changed."""
    result = await session.execute(statement)
    return affected(result)
