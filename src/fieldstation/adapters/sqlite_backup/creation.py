"""Makes a backup of both database files while the station goes on writing them."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from fieldstation import __version__
from fieldstation.adapters.sqlite_backup.durable_files import sha256_of, sync, write_file
from fieldstation.adapters.sqlite_backup.manifest import (
    FILES,
    FOLDER_PREFIX,
    FORMAT,
    MANIFEST_FILE,
    BackedUpFile,
    Manifest,
    open_backed_up,
    read_contents,
)
from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy, Conflict, NotFound
from fieldstation.domains.telemetry.store.sqlite_connections import connect_reader

PAGES_PER_STEP = 4_096
ROOM_LEFT_BYTES_MIN = 64 * 1024 * 1024


class BackupAbandonedError(Exception):
    """Whoever wanted the backup is gone."""


async def create_backup(
    *, station_db: Path, telemetry_db: Path, output: Path, clock: Clock
) -> dict[str, Any]:
    """Copy both files into ``output/fieldstation-<time>/``; return its path and manifest.

    Everything committed before the call is in it. Only reads the originals, in a thread of its own;
    cancelling stops it within one step of the copy. Raises ``NotFound`` (no station there),
    ``Conflict`` (there is a backup of this very second) and ``Busy`` (no room, or the output cannot
    be written); then nothing is left behind.
    """
    abandoned = Event()
    try:
        return await asyncio.to_thread(
            write_backup,
            {"station.db": station_db, "telemetry.db": telemetry_db},
            output=output,
            now=clock.now(),
            is_abandoned=abandoned.is_set,
        )
    except asyncio.CancelledError:
        abandoned.set()
        raise


def write_backup(
    sources: Mapping[str, Path],
    *,
    output: Path,
    now: datetime,
    is_abandoned: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Do the same in this thread; ``sources`` is keyed by the names in the backup."""
    refuse_missing(sources.values())
    folder = output / f"{FOLDER_PREFIX}{now:%Y%m%dT%H%M%SZ}"
    partial: Path | None = None
    try:
        output.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_without_room(sources.values(), output)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=output))
        copy_pinned(sources, partial, is_abandoned)
        manifest = describe(partial, now)
        write_file(
            partial / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        )
        sync(partial)
        publish(partial, folder)
    except (OSError, sqlite3.Error) as error:
        raise Busy(
            f"The backup could not be made in {output} ({error}); nothing was left behind."
            " See that there is room and the right to write, or choose another --output.",
            code="backup_failed",
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return {"path": str(folder), "manifest": msgspec.to_builtins(manifest)}


def refuse_missing(sources: Iterable[Path]) -> None:
    for source in sources:
        if not source.is_file():
            raise NotFound(f"There is nothing to back up: {source} does not exist.")


def refuse_without_room(sources: Iterable[Path], output: Path) -> None:
    """A full disk would stop the station from acknowledging anything, so leave it some room."""
    needed = ROOM_LEFT_BYTES_MIN
    for source in sources:
        log = source.with_name(source.name + "-wal")
        needed += source.stat().st_size + (log.stat().st_size if log.exists() else 0)
    free = shutil.disk_usage(output).free
    if free < needed:
        raise Busy(
            f"{output} has {free >> 20} MiB free and the backup needs {(needed >> 20) + 1} MiB;"
            " free some space or choose another --output.",
            code="disk_full",
        )


def copy_pinned(
    sources: Mapping[str, Path], folder: Path, is_abandoned: Callable[[], bool]
) -> None:
    """Copy all files as they were at one instant.

    Readings are pinned first: whatever device they belong to is then in the station's file, which
    is pinned microseconds later. The transactions stay open during the copy, so no commit makes it
    start again.
    """
    with ExitStack() as stack:
        pinned = [
            (name, stack.enter_context(closing(pin(sources[name]))))
            for name in ("telemetry.db", "station.db")
        ]
        for name, connection in pinned:
            copy_database(connection, folder / name, is_abandoned)


def pin(path: Path) -> sqlite3.Connection:
    """Open a transaction that sees the database as it is now."""
    connection = connect_reader(path)
    connection.execute("BEGIN")
    connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    return connection


def copy_database(
    source: sqlite3.Connection, target: Path, is_abandoned: Callable[[], bool]
) -> None:
    def go_on(_status: int, _remaining: int, _total: int) -> None:
        if is_abandoned():
            raise BackupAbandonedError

    target.touch(mode=0o600)
    with closing(sqlite3.connect(target, isolation_level=None)) as copied:
        # Synced once, as a whole: until it has its final name it need not survive anything.
        copied.execute("PRAGMA journal_mode=OFF")
        copied.execute("PRAGMA synchronous=OFF")
        source.backup(copied, pages=PAGES_PER_STEP, progress=go_on)
    sync(target)


def describe(folder: Path, now: datetime) -> Manifest:
    files: dict[str, BackedUpFile] = {}
    for name, target in FILES.items():
        path = folder / name
        with open_backed_up(path) as connection:
            contents = read_contents(connection, target)
        files[name] = BackedUpFile(
            size_bytes=path.stat().st_size, sha256=sha256_of(path), contents=contents
        )
    return Manifest(format=FORMAT, station_version=__version__, created_at=now, files=files)


def publish(partial: Path, folder: Path) -> None:
    """Give the whole backup its name; from now on it is one."""
    if folder.exists():
        raise Conflict(f"{folder} exists already; try again in a second.")
    partial.rename(folder)
    sync(folder.parent)
