"""Sees when another transaction has to wait."""

from sqlalchemy import text

from tests.domains.identity.stations import Station


async def is_waiting(station: Station, *, verified: int) -> bool:
    """Tell whether another transaction waits for a lock; on SQLite all wait for the one writer."""
    if station.database.dialect == "sqlite":
        return station.hasher.verified == verified
    return await count_waiting(station) == 1


async def count_waiting(station: Station) -> int:
    async with station.database.reading() as session:
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return await session.scalar(waiting) or 0
