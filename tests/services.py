"""The real services that tests need: found, or visibly missing."""

import asyncio
import os
import socket
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn
from uuid import uuid4

import asyncmy
import asyncpg
import pytest
from asyncmy.errors import OperationalError

REDIS = ("127.0.0.1", 6379)
POSTGRESQL = "postgresql://postgres@127.0.0.1:5432"
MARIADB = "mysql+pymysql://root@127.0.0.1:3306"


def missing_service(reason: str) -> NoReturn:
    """Skip with the reason; fail where services are required."""
    if os.environ.get("FIELDSTATION_TEST_SERVICES") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def fresh_postgresql_database() -> Iterator[str]:
    """Make a database with a name of its own, give its URL, drop it in the end."""
    name = f"fieldstation_test_{uuid4().hex}"
    try:
        run_apart(on_postgresql(f"CREATE DATABASE {name}"))
    except OSError as error:
        missing_service(f"no PostgreSQL on 127.0.0.1:5432: {error}")
    try:
        yield f"{POSTGRESQL}/{name}"
    finally:
        run_apart(on_postgresql(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def fresh_mariadb_database() -> Iterator[str]:
    """Do the same on MariaDB, in a database whose own defaults are not ours."""
    name = f"fieldstation_test_{uuid4().hex}"
    try:
        run_apart(on_mariadb(f"CREATE DATABASE {name} CHARACTER SET latin1"))
    except OperationalError as error:
        missing_service(f"no MariaDB on 127.0.0.1:3306: {error}")
    try:
        yield f"{MARIADB}/{name}"
    finally:
        run_apart(on_mariadb(f"DROP DATABASE {name}"))


@contextmanager
def fresh_server_database(kind: str) -> Iterator[str]:
    """Do the same on the server of this kind: ``postgresql`` or ``mariadb``."""
    fresh = {"postgresql": fresh_postgresql_database, "mariadb": fresh_mariadb_database}
    with fresh[kind]() as url:
        yield url


def redis_url() -> str:
    """Return where Redis is, shared with everybody; without one a visible skip."""
    try:
        socket.create_connection(REDIS, timeout=5).close()
    except OSError as error:
        missing_service(f"no Redis on 127.0.0.1:6379: {error}")
    return "redis://{}:{}/0".format(*REDIS)


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a thread of its own: a test's loop may be running in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def on_postgresql(statement: str, *, database: str = "postgres") -> None:
    connection = await asyncpg.connect(f"{POSTGRESQL}/{database}", timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def on_mariadb(statement: str, *arguments: Any, database: str | None = None) -> Any:
    """Run a statement; return its rows."""
    connection = await asyncmy.connect(
        host="127.0.0.1", user="root", database=database, autocommit=True, connect_timeout=5
    )
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(statement, arguments or None)
            return await cursor.fetchall() if cursor.description else ()
    finally:
        await connection.ensure_closed()
