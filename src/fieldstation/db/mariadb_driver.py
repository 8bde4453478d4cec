"""Connections to MariaDB that wait for an answer only so long, and can be cancelled at any time.

The driver's own ``read_timeout`` rests on ``asyncio.wait_for``, which up to Python 3.11 loses a
cancellation that arrives together with the answer: a task that asks again and again never ends.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

from fieldstation.core.errors import Conflict
from fieldstation.db.mariadb import (
    CONNECT_TIMEOUT_S,
    SESSION,
    TLS_FAILED,
    VERSION_MIN,
    is_supported,
)

SERVER_LOST = 2013


async def connect(*, answer_timeout_s: float | None, **arguments: Any) -> Any:
    """Connect with ``mariadb.connect_arguments``; a connection of the driver's.

    Raises the driver's errors, ``OperationalError`` 2013 among them where no answer comes in time
    and 2026 where TLS fails, and ``Conflict`` for MySQL, which lacks what the station needs, and
    for old versions.
    """
    connection = connection_class()(**arguments)
    connection.answer_timeout_s = answer_timeout_s
    try:
        async with answering(connection, CONNECT_TIMEOUT_S):
            await connection.connect()
            await refuse_other_servers(connection)
            await connection.query(SESSION)
    except BaseException as error:
        connection.close()
        if not isinstance(error.__cause__, ssl.SSLError):
            raise
        reason = getattr(error.__cause__, "verify_message", "") or error.__cause__
        raise operational_error(TLS_FAILED, f"TLS with the server fails: {reason}") from error
    return connection


async def refuse_other_servers(connection: Any) -> None:
    """Ask for the version unless the greeting tells it: a proxy greets with one of its own."""
    found = connection.get_server_info()
    if is_supported(found):
        return
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT VERSION()")
        (found,) = await cursor.fetchone()
    if not is_supported(found):
        raise Conflict(
            f"The server is {found}; Fieldstation needs MariaDB {VERSION_MIN[0]}.{VERSION_MIN[1]} "
            "or newer."
        )


@asynccontextmanager
async def answering(connection: Any, timeout_s: float | None) -> AsyncGenerator[None, None]:
    """Wait for an answer so long; whoever stops waiting gives the connection up."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        connection.close()
        raise operational_error(SERVER_LOST, f"no answer within {timeout_s} s") from error


def operational_error(number: int, reason: str) -> Exception:
    """Make an error of the driver's, as if it had found this out itself."""
    made: Exception = import_module("asyncmy.errors").OperationalError(number, reason)
    return made


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
