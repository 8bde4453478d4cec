"""The real services that tests need: found, or visibly missing."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import asyncpg
import pytest

POSTGRESQL = "postgresql://postgres@127.0.0.1:5432"


def missing_service(reason: str) -> None:
    """Skip with the reason; fail where services are required."""
    if os.environ.get("FIELDSTATION_TEST_SERVICES") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def fresh_postgresql_database() -> Iterator[str]:
    """Make a database with a name of its own, give its URL, drop it in the end."""
    name = f"fieldstation_test_{uuid4().hex}"
    try:
        asyncio.run(on_postgresql(f"CREATE DATABASE {name}"))
    except OSError as error:
        missing_service(f"no PostgreSQL on 127.0.0.1:5432: {error}")
    try:
        yield f"{POSTGRESQL}/{name}"
    finally:
        asyncio.run(on_postgresql(f"DROP DATABASE {name} WITH (FORCE)"))


async def on_postgresql(statement: str, *, database: str = "postgres") -> None:
    connection = await asyncpg.connect(f"{POSTGRESQL}/{database}", timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
