"""A station of any earlier revision keeps its rows when it is brought to the newest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    insert,
)
from sqlalchemy.engine import URL
from sqlalchemy.types import VARBINARY

from fieldstation.db.engines import database_url
from fieldstation.migrations.chain import configuration, differences
from fieldstation.migrations.revisions import REVISIONS
from fieldstation.migrations.upgrade import on_connection, upgrade
from tests.services import fresh_server_database

pytestmark = pytest.mark.anyio

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    if request.param == "sqlite":
        yield database_url(None, data_dir=tmp_path)
    else:
        with fresh_server_database(request.param) as address:
            yield database_url(address, data_dir=tmp_path)


def value_for(column: Column[Any]) -> Any:
    """Return what every column of this type holds, so that foreign keys find their rows."""
    kind = column.type
    if isinstance(kind, JSON):
        return {"a": 1}
    if isinstance(kind, VARBINARY):
        return b"a"
    if isinstance(kind, LargeBinary) or "BLOB" in str(kind):
        return b"\x00\xff'"
    if isinstance(kind, Float):
        return 1.5
    if isinstance(kind, Integer | Boolean):
        return isinstance(kind, Boolean) or 1
    return '{"a": 1}' if "TEXT" in str(kind) else "a"


def tables_of(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection, only=lambda name, _: not name.startswith("schema_"))
    return found


def fill(connection: Connection) -> None:
    """Put one row into every table there is."""
    for table in tables_of(connection).sorted_tables:
        row = {column.name: value_for(column) for column in table.columns}
        connection.execute(insert(table).values(row))


def rows_in(connection: Connection) -> Rows:
    return {
        name: [dict(row) for row in connection.execute(table.select()).mappings()]
        for name, table in tables_of(connection).tables.items()
    }


@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_rows_of_every_earlier_revision_are_kept(url: URL, revision: str) -> None:
    before: Rows = {}
    after: Rows = {}
    different: list[object] = []

    def build(connection: Connection) -> None:
        command.upgrade(configuration(connection, "station"), revision)
        fill(connection)
        before.update(rows_in(connection))

    await on_connection(url, build)
    await upgrade(url, "station")
    await on_connection(url, lambda connection: after.update(rows_in(connection)))
    await on_connection(url, lambda c: different.extend(differences(c, "station")))

    assert len(before) > 10
    for name, rows in before.items():
        (kept,) = [{column: row[column] for column in rows[0]} for row in after[name]]
        assert [kept] == rows, name
    assert different == []
