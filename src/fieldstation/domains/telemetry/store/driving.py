"""Running steps on the event loop, for the stores whose database is a server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fieldstation.domains.telemetry.store.steps import Insert, Query, Row, Steps

Result = TypeVar("Result")


async def driven(
    steps: Steps[Result],
    execute: Callable[[Query | Insert], Awaitable[list[Row]]],
    *,
    in_thread: bool = False,
) -> Result:
    """Run steps to their result; what they compute runs beside the event loop if wanted."""

    def advance(rows: list[Row] | None) -> tuple[Query | Insert | None, Any]:
        try:
            return (next(steps) if rows is None else steps.send(rows)), None
        except StopIteration as finished:
            return None, finished.value

    rows: list[Row] | None = None
    while True:
        step, result = await asyncio.to_thread(advance, rows) if in_thread else advance(rows)
        if step is None:
            return result
        rows = await execute(step)
