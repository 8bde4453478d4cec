"""Going back behind the floors is refused once readings were deleted."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from fieldstation.db.engines import database_url
from fieldstation.migrations.chain import configuration
from fieldstation.migrations.upgrade import on_connection, upgrade
from tests.services import fresh_server_database

pytestmark = pytest.mark.anyio

BEFORE = "20261130_rollups"
SERIES = (
    "INSERT INTO series (organization_id, device_id, sensor_type, sensor_id, created_at)"
    " VALUES ('org', 'device', 'temperature', 'sensor', 1)"
)


async def go_back(url: URL) -> None:
    def run(connection: Connection) -> None:
        command.downgrade(configuration(connection, "telemetry"), BEFORE)

    await on_connection(url, run)


async def run(url: URL, statement: str) -> None:
    def work(connection: Connection) -> None:
        connection.execute(text(statement))
        connection.commit()

    await on_connection(url, work)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
async def test_going_back_is_refused_once_a_series_has_a_floor(kind: str, tmp_path: Path) -> None:
    if kind == "sqlite":
        await come_and_go(database_url(None, data_dir=tmp_path))
        return
    with fresh_server_database(kind) as address:
        await come_and_go(database_url(address, data_dir=tmp_path))


async def come_and_go(url: URL) -> None:
    await upgrade(url, "telemetry")
    await run(url, SERIES)
    await go_back(url)
    await upgrade(url, "telemetry")
    await run(url, "UPDATE series SET raw_from_hour = 24 WHERE raw_from_hour = 0")

    with pytest.raises(RuntimeError, match=r"only their rollups are left.*restore the backup"):
        await go_back(url)
