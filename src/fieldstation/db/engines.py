"""Engines per dialect: one that writes, one that reads."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import event, make_url
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from fieldstation.core.settings import DatabaseSettings, Settings, SettingsError
from fieldstation.db import mariadb
from fieldstation.db.mariadb_driver import connect

SQLITE_READERS = 4
SQLITE_BUSY_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5
COMMAND_TIMEOUT_S = 10
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "mysql": "mariadb+asyncmy",
    "mariadb": "mariadb+asyncmy",
}
USE = "use sqlite:///path, postgresql://user@host/name or mysql+pymysql://user@host/name"


@dataclass(frozen=True, slots=True)
class Engines:
    """On SQLite exactly one connection writes and checkpoints; elsewhere both share one pool."""

    writer: AsyncEngine
    reader: AsyncEngine

    async def close(self) -> None:
        await self.reader.dispose()
        await self.writer.dispose()


def database_url(
    url: str | None, *, data_dir: Path, file_name: str = "station.db", name: str = "DATABASE_URL"
) -> URL:
    """Return the URL with its async driver; without one, a SQLite file in the data directory.

    Raises ``SettingsError`` for a database that the station does not know.
    """
    if url is None:
        return URL.create("sqlite+aiosqlite", database=str(data_dir / file_name))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(f"{name}: not a URL; {USE}") from error
    driver = DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise SettingsError(f"{name}: {parsed.get_backend_name()} is not supported; {USE}")
    url_with_driver = parsed.set(drivername=driver)
    if url_with_driver.get_backend_name() == mariadb.BACKEND:
        mariadb.check_options(url_with_driver, name)
    return url_with_driver


def station_url(settings: Settings) -> URL:
    """Return where the station's tables are."""
    return database_url(settings.database.url, data_dir=settings.station.data_dir)


def telemetry_url(settings: Settings) -> URL:
    """Return where readings are: an own URL, an own file on SQLite, else the station's database."""
    url = settings.database.telemetry_url
    own = station_url(settings)
    if url is not None or own.get_backend_name() == "sqlite":
        return database_url(
            url,
            data_dir=settings.station.data_dir,
            file_name="telemetry.db",
            name="TELEMETRY_DATABASE_URL",
        )
    return own


def create_engines(url: URL, settings: DatabaseSettings) -> Engines:
    """Create engines for a URL from ``database_url``; nothing connects yet."""
    if url.get_backend_name() == "sqlite":
        return Engines(
            writer=sqlite_engine(url, pool_size=1, begin="BEGIN IMMEDIATE", settings=settings),
            reader=sqlite_engine(
                url, pool_size=SQLITE_READERS, begin="BEGIN DEFERRED", settings=settings
            ),
        )
    engine = server_engine(
        url,
        pool_size=settings.pool_size,
        max_overflow=settings.pool_overflow_max,
        pool_timeout=settings.pool_timeout_s,
        pool_pre_ping=True,
    )
    if url.get_backend_name() == mariadb.BACKEND:
        return Engines(writer=engine, reader=reading_mariadb(engine))
    reader = engine.execution_options(postgresql_readonly=True)
    return Engines(writer=engine, reader=reader)


def server_engine(
    url: URL, *, command_timeout_s: int | None = COMMAND_TIMEOUT_S, **options: Any
) -> AsyncEngine:
    """Create an engine for PostgreSQL or MariaDB; ``options`` are SQLAlchemy's."""
    if url.get_backend_name() == mariadb.BACKEND:
        arguments = {
            **mariadb.connect_arguments(url),
            "async_creator_fn": partial(connect, answer_timeout_s=command_timeout_s),
        }
        engine = create_async_engine(url.set(query={}), connect_args=arguments, **options)
        # SQLAlchemy sets the character set anew behind what the driver began with.
        event.listen(engine.sync_engine, "connect", begin_mariadb_session)
        return engine
    arguments = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": command_timeout_s}
    return create_async_engine(url, connect_args=arguments, **options)


def begin_mariadb_session(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(mariadb.SESSION)
    cursor.close()


def reading_mariadb(engine: AsyncEngine) -> AsyncEngine:
    """Return the same engine for transactions that cannot write."""
    reader = engine.execution_options()

    @event.listens_for(reader.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql("START TRANSACTION READ ONLY")

    return reader


def looking_engine(url: URL) -> AsyncEngine:
    """Create an engine for one look beside a running station.

    On SQLite it can neither write nor checkpoint, not even when it closes last.
    """
    if url.get_backend_name() != "sqlite":
        return server_engine(url, poolclass=NullPool)
    file = Path(url.database or "").absolute().as_uri()
    return create_async_engine(
        url.set(database=file, query={"mode": "ro", "uri": "true"}), poolclass=NullPool
    )


def sqlite_engine(
    url: URL, *, pool_size: int, begin: str, settings: DatabaseSettings
) -> AsyncEngine:
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout_s,
    )
    query_only = "ON" if begin == "BEGIN DEFERRED" else "OFF"

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={SQLITE_BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"query_only={query_only}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
