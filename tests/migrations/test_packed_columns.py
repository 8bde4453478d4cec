"""On PostgreSQL packed columns are compressed quickly or not at all, and rows that stand stay."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from fieldstation.db.engines import database_url
from fieldstation.migrations.chain import configuration
from fieldstation.migrations.upgrade import on_connection, upgrade
from tests.services import fresh_postgresql_database

pytestmark = pytest.mark.anyio

BEFORE = "20261130_rollups"
STORING = (
    "SELECT attrelid::regclass || '.' || attname, attstorage::text, attcompression::text"
    " FROM pg_attribute WHERE atttypid = 'bytea'::regtype AND attrelid IN"
    " ('intake_batch'::regclass, 'chunk'::regclass, 'sealed'::regclass, 'rollup'::regclass)"
)
LARGE = "INSERT INTO chunk VALUES ({hour}, 1, 1, 1, 1, convert_to(repeat('field', 9999), 'UTF8'))"
COMPRESSIONS = "SELECT pg_column_compression(data) FROM chunk ORDER BY hour"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[URL]:
    with fresh_postgresql_database() as address:
        yield database_url(address, data_dir=tmp_path)


async def rows(url: URL, statement: str) -> list[tuple[str | None, ...]]:
    found: list[tuple[str | None, ...]] = []

    def ask(connection: Connection) -> None:
        found.extend(tuple(row) for row in connection.execute(text(statement)))

    await on_connection(url, ask)
    return found


async def test_the_newest_schema_stores_packed_columns_without_pglz(url: URL) -> None:
    asked = "SELECT enumvals::text FROM pg_settings WHERE name = 'default_toast_compression'"
    has_lz4 = "lz4" in str(await rows(url, asked))

    def to_the_one_before(connection: Connection) -> None:
        command.upgrade(configuration(connection, "telemetry"), BEFORE)
        connection.execute(text(LARGE.format(hour=1)))

    await on_connection(url, to_the_one_before)
    await upgrade(url, "telemetry")
    await on_connection(url, lambda connection: connection.execute(text(LARGE.format(hour=2))))

    plain = ("x", "l") if has_lz4 else ("e", "")
    assert {name: tuple(how) for name, *how in await rows(url, STORING)} == {
        "intake_batch.readings": plain,
        "chunk.data": plain,
        "sealed.data": ("e", ""),
        "rollup.data": ("e", ""),
        "rollup.sketches": ("e", ""),
    }
    assert await rows(url, COMPRESSIONS) == [("pglz",), ("lz4" if has_lz4 else None,)]
    same = "SELECT count(DISTINCT data)::text FROM chunk"
    assert await rows(url, same) == [("1",)]


async def test_the_schema_before_stores_as_ever(url: URL) -> None:
    await upgrade(url, "telemetry")

    await on_connection(
        url, lambda connection: command.downgrade(configuration(connection, "telemetry"), BEFORE)
    )

    assert {tuple(how) for _, *how in await rows(url, STORING)} == {("x", "")}
