"""The station's database in a test's own process: real tables, opened as a node opens them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import delete
from sqlalchemy.engine import URL

from fieldstation.core.events import Publish
from fieldstation.core.settings import DatabaseSettings
from fieldstation.db.database import Database
from fieldstation.db.engines import create_engines
from fieldstation.migrations.upgrade import upgrade
from fieldstation.tables import METADATA


def ignore_event(_event: object) -> None:
    """Publish nothing."""


@asynccontextmanager
async def empty_database(
    url: URL, publish: Publish = ignore_event, *, pool_timeout_s: float = 0.5
) -> AsyncGenerator[Database, None]:
    """Make the station's tables, or empty them, and open the database while the block lasts."""
    await upgrade(url, "station")
    settings = DatabaseSettings.model_validate({"DATABASE_POOL_TIMEOUT_S": pool_timeout_s})
    database = Database(create_engines(url, settings), publish)
    try:
        async with database.transaction() as session:
            for table in reversed(METADATA["station"].sorted_tables):
                await session.execute(delete(table))
        yield database
    finally:
        await database.close()
