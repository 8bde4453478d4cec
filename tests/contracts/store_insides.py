"""What the tests of flushes reach for inside a store: what it holds, and writes that fail."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.store.steps import Steps
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.stored_readings import Stored, readings_in_postgresql, readings_in_sqlite


def held(store: ReadingStoreUnderTest) -> int:
    """Return how many readings wait in memory."""
    return len(store._recent)  # noqa: SLF001 - the store tells nobody


@contextmanager
def failing_write(
    store: ReadingStoreUnderTest, number: int, *, happens: bool = False
) -> Generator[None, None, None]:
    """Answer the write of this number, counted from 0, with ``Busy``, whether it ``happens`` or
    not."""
    write = store._write  # noqa: SLF001 - what a full disk or a lost server would stop
    left = number

    async def fail(steps: Steps[Any]) -> Any:
        nonlocal left
        left -= 1
        if left != -1:
            return await write(steps)
        if happens:
            await write(steps)
        raise Busy("The test lets this write fail.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_write", fail)
        yield


async def rows_in(database: ReadingDatabase, statement: str) -> list[tuple[Any, ...]]:
    """Ask the database itself."""
    if database.kind == "sqlite":
        path = Path(database.url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path)) as opened:
            return opened.execute(statement).fetchall()
    connection = await asyncpg.connect(database.url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def stored_in(database: ReadingDatabase) -> list[Stored]:
    """Return every reading of the database as often as it is there, in key order."""
    if database.kind == "sqlite":
        return sorted(readings_in_sqlite(Path(database.url.removeprefix("sqlite:///"))))
    connection = await asyncpg.connect(database.url)
    try:
        return sorted(await readings_in_postgresql(connection))
    finally:
        await connection.close()
