"""Databases of their own on the machine's PostgreSQL server, dropped afterwards."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import asyncpg

from fieldstation.core.clock import SystemClock
from fieldstation.domains.telemetry.store.postgresql import PostgresqlReadingStore

SERVER = os.environ.get("BENCH_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432")
CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 600.0
STORED = (
    "SELECT COALESCE(sum(count), 0)"
    " FROM (SELECT count FROM chunk UNION ALL SELECT count FROM sealed) AS stored"
)


def missing_postgresql() -> str | None:
    """Return why there is no server to use, ``None`` if there is one."""
    try:
        asyncio.run(execute("SELECT 1", database="postgres"))
    except (OSError, asyncpg.PostgresError) as error:
        return f"no PostgreSQL at {SERVER.rpartition('@')[2]} (BENCH_POSTGRESQL_URL): {error}"
    return None


def url_of(database: str) -> str:
    return f"{SERVER}/{database}"


@contextmanager
def own_database(template: str | None = None) -> Iterator[str]:
    """Create a database, empty or as a copy of another that nobody uses; drop it in the end."""
    name = f"fieldstation_bench_{uuid4().hex}"
    copied = f" TEMPLATE {template}" if template else ""
    asyncio.run(execute(f"CREATE DATABASE {name}{copied}", database="postgres"))
    try:
        # Otherwise the server's next checkpoint writes the copy back while the clock runs.
        asyncio.run(execute("CHECKPOINT", database="postgres"))
        yield name
    finally:
        asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)", database="postgres"))


async def execute(statement: str, *, database: str) -> None:
    connection = await asyncpg.connect(url_of(database), timeout=CONNECT_TIMEOUT_S)
    try:
        await connection.execute(statement, timeout=STATEMENT_TIMEOUT_S)
    finally:
        await connection.close()


def count_in_postgresql(database: str) -> int:
    """Return how many readings the database of a stopped station holds, all moved into chunks."""
    return asyncio.run(_count(database))


async def _count(database: str) -> int:
    store = PostgresqlReadingStore(url_of(database), node_id="bench", clock=SystemClock())
    await store.open()
    await store.flush()
    await store.close()
    connection = await asyncpg.connect(url_of(database), timeout=CONNECT_TIMEOUT_S)
    try:
        found = await connection.fetchval(STORED)
    finally:
        await connection.close()
    return int(found)
