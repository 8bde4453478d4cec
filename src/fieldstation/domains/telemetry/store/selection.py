"""Chooses the store that fits the telemetry database."""

from pathlib import Path

from sqlalchemy.engine import URL

from fieldstation.core.clock import Clock
from fieldstation.core.settings import Settings
from fieldstation.db.engines import telemetry_url
from fieldstation.db.mariadb import BACKEND
from fieldstation.domains.telemetry.ports import ReadingStore
from fieldstation.domains.telemetry.store.mariadb import MariadbReadingStore
from fieldstation.domains.telemetry.store.postgresql import PostgresqlReadingStore
from fieldstation.domains.telemetry.store.sealing import SealLimits
from fieldstation.domains.telemetry.store.served import ServedStore
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore


def reading_store(settings: Settings, *, node_id: str, clock: Clock) -> ReadingStore:
    """Return this node's store of the telemetry database."""
    store = _store_at(telemetry_url(settings), node_id=node_id, clock=clock)
    store.seal_limits = SealLimits(age_hours=settings.telemetry.seal_after_hours)
    return store


def _store_at(url: URL, *, node_id: str, clock: Clock) -> SqliteReadingStore | ServedStore:
    if url.get_backend_name() == "sqlite":
        return SqliteReadingStore(Path(url.database or ""), node_id=node_id, clock=clock)
    if url.get_backend_name() == BACKEND:
        return MariadbReadingStore(url, node_id=node_id, clock=clock)
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return PostgresqlReadingStore(dsn, node_id=node_id, clock=clock)
