"""How far a station is with sealing and rolling up: asked of its database, on any kind of it."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

from tests.faults.oracle import HOUR_US
from tests.services import on_mariadb
from tests.wait_until import wait_until

DONE_S_MAX = 60.0
IN_CHUNKS = "SELECT COUNT(*) FROM series_hour WHERE hour < {}"
NOT_ROLLED_UP = "SELECT COUNT(*) FROM rollup_stale WHERE hour < {}"
ROLLED_UP = "SELECT COUNT(*) FROM rollup"


class Upkeep:
    """Asks about the readings before ``before_us``."""

    def __init__(self, url: str, *, before_us: int) -> None:
        self._url = url
        self._hour = before_us // HOUR_US

    async def in_chunks(self) -> int:
        """Return how many hours of how many series stand in ordinary chunks."""
        return await self._count(IN_CHUNKS)

    async def not_rolled_up(self) -> int:
        return await self._count(NOT_ROLLED_UP)

    async def until_done(self) -> None:
        """Wait until all is sealed and rolled up."""

        async def is_done() -> bool:
            left = await self.in_chunks() + await self.not_rolled_up()
            return left == 0 and await self._count(ROLLED_UP) > 0

        await wait_until(is_done, timeout_s=DONE_S_MAX)

    async def forget_readings(self) -> None:
        """Delete what rollups were made of, of a station that has stopped: they have to do."""
        for name in ("chunk", "sealed"):
            await ask(self._url, f"DELETE FROM {name}")  # noqa: S608 - our own names

    async def _count(self, statement: str) -> int:
        ((count,),) = await ask(self._url, statement.format(self._hour))
        return int(count)


def file_url(data_dir: Path) -> str:
    """Return where a station on SQLite keeps its readings."""
    return f"sqlite:///{data_dir / 'telemetry.db'}"


async def ask(url: str, statement: str) -> Sequence[Sequence[Any]]:
    """Run a statement by itself; return its rows."""
    if url.startswith("sqlite"):
        file = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()
    if url.startswith("mysql"):
        return await on_mariadb(statement, database=url.rpartition("/")[2])
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()
