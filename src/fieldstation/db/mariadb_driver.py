"""Connections to MariaDB that wait for an answer only so long, and can be cancelled at any time.

The driver's own ``read_timeout`` rests on ``asyncio.wait_for``, which up to Python 3.11 loses a
cancellation that arrives together with the answer: a task that asks again and again never ends.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

from fieldstation.db.mariadb import CONNECT_TIMEOUT_S

SERVER_LOST = 2013


async def connect(*, answer_timeout_s: float | None, **arguments: Any) -> Any:
    """Connect with ``mariadb.connect_arguments``; a connection of the driver's.

    Raises the driver's errors, ``OperationalError`` 2013 among them where no answer comes in time.
    """
    connection = connection_class()(**arguments)
    connection.answer_timeout_s = answer_timeout_s
    async with answering(connection, CONNECT_TIMEOUT_S):
        await connection.connect()
    return connection


@asynccontextmanager
async def answering(connection: Any, timeout_s: float | None) -> AsyncGenerator[None, None]:
    """Wait for an answer so long; whoever stops waiting gives the connection up."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        connection.close()
        lost = import_module("asyncmy.errors").OperationalError
        raise lost(SERVER_LOST, f"no answer within {timeout_s} s") from error


@lru_cache(maxsize=1)
def connection_class() -> Any:
    """Make the class once the driver, which need not be installed, is needed."""
    driver: Any = import_module("asyncmy.connection").Connection

    class Connection(driver):
        """The driver's, which waits for every answer so long."""

        answer_timeout_s: float | None = None

        async def query(self, sql: Any, unbuffered: bool = False) -> Any:
            async with answering(self, self.answer_timeout_s):
                return await super().query(sql, unbuffered)

        async def commit(self) -> None:
            async with answering(self, self.answer_timeout_s):
                await super().commit()

        async def rollback(self) -> None:
            async with answering(self, self.answer_timeout_s):
                await super().rollback()

        async def ping(self, reconnect: bool = False) -> Any:
            async with answering(self, self.answer_timeout_s):
                return await super().ping(reconnect)

    return Connection
