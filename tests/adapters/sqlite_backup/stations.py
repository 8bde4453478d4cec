"""Stations as files: both databases with their real schema, and a mark in each."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fieldstation.adapters.sqlite_backup.creation import write_backup
from fieldstation.adapters.sqlite_backup.durable_files import sha256_of
from fieldstation.adapters.sqlite_backup.manifest import (
    MANIFEST_FILE,
    open_backed_up,
    read_manifest,
)
from fieldstation.db.engines import database_url
from fieldstation.migrations.chain import run_upgrade
from fieldstation.migrations.upgrade import run_on_sqlite

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass(frozen=True)
class StationFiles:
    """Where a station keeps its databases."""

    directory: Path

    @property
    def station_db(self) -> Path:
        return self.directory / "station.db"

    @property
    def telemetry_db(self) -> Path:
        return self.directory / "telemetry.db"

    @property
    def sources(self) -> dict[str, Path]:
        return {"station.db": self.station_db, "telemetry.db": self.telemetry_db}

    def back_up(self, output: Path, *, now: datetime = NOW) -> Path:
        return Path(write_backup(self.sources, output=output, now=now)["path"])

    def mark(self) -> tuple[str | None, str | None]:
        """Return the marks of both files, each with its log; None where there is no database."""
        return read_mark(self.station_db, "outbox_message", "topic"), read_mark(
            self.telemetry_db, "intake_cursor", "node_id"
        )


def make_station(directory: Path, mark: str) -> StationFiles:
    """Make both databases with the newest schema and a mark in each."""
    directory.mkdir(parents=True, mode=0o700)
    files = StationFiles(directory)
    for target in ("station", "telemetry"):
        url = database_url(None, data_dir=directory, file_name=f"{target}.db")
        run_on_sqlite(url, lambda connection, target=target: run_upgrade(connection, target))
    with writing(files.station_db) as connection:
        connection.execute(
            "INSERT INTO outbox_message (id, topic, payload, created_at, attempts)"
            " VALUES ('1', ?, '{}', 0, 0)",
            (mark,),
        )
    with writing(files.telemetry_db) as connection:
        connection.execute("INSERT INTO intake_cursor (node_id, seq) VALUES (?, 1)", (mark,))
    return files


def make_killed_station(directory: Path, mark: str) -> StationFiles:
    """Make a station whose last commits are in the write-ahead logs only."""
    origin = make_station(directory.with_name(f"{directory.name}-origin"), "before")
    with writing(origin.station_db) as station, writing(origin.telemetry_db) as telemetry:
        station.execute("UPDATE outbox_message SET topic = ?", (mark,))
        telemetry.execute("UPDATE intake_cursor SET node_id = ?", (mark,))
        shutil.copytree(origin.directory, directory)
    return StationFiles(directory)


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        yield connection


def read_mark(path: Path, table: str, column: str) -> str | None:
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return str(connection.execute(f"SELECT {column} FROM {table}").fetchone()[0])  # noqa: S608
    except sqlite3.DatabaseError:
        return None


def rows_of(database: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask a file of a backup."""
    with open_backed_up(database) as connection:
        return connection.execute(query).fetchall()


def forge_digest(backup: Path, name: str) -> None:
    """Make the manifest agree with the bytes of a file that a test has changed."""
    manifest = read_manifest(backup)
    path = backup / name
    entry = msgspec.structs.replace(
        manifest.files[name], size_bytes=path.stat().st_size, sha256=sha256_of(path)
    )
    forged = msgspec.structs.replace(manifest, files={**manifest.files, name: entry})
    (backup / MANIFEST_FILE).write_bytes(msgspec.json.encode(forged))
