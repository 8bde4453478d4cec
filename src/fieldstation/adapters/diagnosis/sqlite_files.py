"""Checks of SQLite: how the station opens its files, and what is in them; reads only."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import text

from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning
from fieldstation.adapters.diagnosis.schema import judge_revision
from fieldstation.adapters.sqlite_backup.restoration import is_notice
from fieldstation.core.clock import SystemClock
from fieldstation.core.settings import DatabaseSettings
from fieldstation.db.engines import create_engines, database_url
from fieldstation.domains.telemetry.store.sqlite import CHECKPOINT_PAGES
from fieldstation.domains.telemetry.store.sqlite_connections import (
    connect_reader,
    connect_writer,
)

QUICK_CHECK_TIMEOUT_S = 60.0
INSTRUCTIONS_PER_LOOK = 100_000
SYNCHRONOUS_FULL = 2
Durability = tuple[str, int]


def check_durability(directory: Path) -> Check:
    """Open a scratch file in the data directory exactly as the station opens its own."""
    name = "sqlite durability"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=directory) as scratch:
            found = [telemetry_durability(Path(scratch)), station_durability(Path(scratch))]
    except (OSError, sqlite3.Error) as error:
        return failure(
            name,
            f"No database can be made in {directory} ({error})",
            "Give the station a local disk that it may write.",
        )
    return judge_durability(found)


def judge_durability(found: Sequence[Durability]) -> Check:
    name = "sqlite durability"
    if any(mode != "wal" for mode, _ in found):
        return failure(
            name,
            f"The disk allows journal_mode={found[0][0]} but not WAL",
            "Give the station a local disk: network file systems lack shared memory.",
        )
    if any(synchronous < SYNCHRONOUS_FULL for _, synchronous in found):
        return failure(
            name,
            "synchronous is below FULL: a power cut may lose what was acknowledged",
            "Use a Python whose SQLite honours PRAGMA synchronous=FULL.",
        )
    return ok(name, "journal_mode=WAL, synchronous=FULL")


def telemetry_durability(directory: Path) -> Durability:
    path = directory / "telemetry.db"
    with closing(connect_writer(path, checkpoint_pages=CHECKPOINT_PAGES)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    return str(mode), int(synchronous)


def station_durability(directory: Path) -> Durability:
    async def ask() -> Durability:
        engines = create_engines(database_url(None, data_dir=directory), DatabaseSettings())
        try:
            async with engines.writer.connect() as connection:
                mode = await connection.scalar(text("PRAGMA journal_mode"))
                synchronous = await connection.scalar(text("PRAGMA synchronous"))
        finally:
            await engines.close()
        return str(mode), int(synchronous)

    return asyncio.run(ask())


def check_file(path: Path, *, timeout_s: float = QUICK_CHECK_TIMEOUT_S) -> Check:
    """Look for damage; beside a running station as well, for a minute at most."""
    name = f"{path.name} file"
    if not path.exists():
        return ok(name, f"{path} does not exist yet; the first start makes it")
    if is_notice(path):
        return failure(
            name, "A restore was interrupted", "Run the same fieldstation backup restore again."
        )
    try:
        with open_within(path, timeout_s) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.DatabaseError as error:
        return unreadable(name, path, error, timeout_s=timeout_s)
    if found != ["ok"]:
        return damaged(name, path, " ".join(found[0].split()))
    if mode != "wal":
        return warning(
            name, f"{path} has journal_mode={mode}", "The next start of the station sets WAL."
        )
    return ok(name, f"{path} is sound")


def unreadable(name: str, path: Path, error: sqlite3.DatabaseError, *, timeout_s: float) -> Check:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
        return warning(
            name,
            f"{path} is so large that looking for damage takes over {timeout_s:g} s",
            "Make a backup and verify that: fieldstation backup create",
        )
    if isinstance(error, sqlite3.OperationalError):
        return failure(name, f"{path} cannot be read ({error})", "Check the rights of the file.")
    return damaged(name, path, str(error))


def damaged(name: str, path: Path, reason: str) -> Check:
    return failure(
        name,
        f"{path} is damaged ({reason})",
        "Stop the station, keep a copy of the file, and restore: fieldstation backup restore",
    )


def check_schema(path: Path, target: str, revisions: Sequence[str]) -> Check:
    if not path.exists():
        return ok(f"{target} schema", "Made at the first start")
    try:
        with open_within(path, QUICK_CHECK_TIMEOUT_S) as connection:
            revision = read_revision(connection, f"schema_version_{target}")
    except sqlite3.Error as error:
        return failure(
            f"{target} schema", f"{path} cannot be read ({error})", "See the check of the file."
        )
    return judge_revision(target, revision, revisions)


def read_revision(connection: sqlite3.Connection, table: str) -> str | None:
    made = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    if made is None:
        return None
    # The name is one of our two.
    row = connection.execute(f"SELECT version_num FROM {table}").fetchone()  # noqa: S608
    return None if row is None else str(row[0])


@contextmanager
def open_within(path: Path, timeout_s: float) -> Iterator[sqlite3.Connection]:
    """Open a file for reading; its statements are interrupted after ``timeout_s``."""
    clock = SystemClock()
    deadline = clock.monotonic() + timeout_s
    with closing(connect_reader(path)) as connection:
        connection.set_progress_handler(lambda: clock.monotonic() > deadline, INSTRUCTIONS_PER_LOOK)
        yield connection
