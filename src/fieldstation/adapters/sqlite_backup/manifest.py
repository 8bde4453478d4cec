"""What a backup says of itself: a manifest beside the two database files, with no secret in it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from fieldstation.core.errors import Malformed, NotFound

FORMAT = 1
BACKUPS = "backups"
"""Where backups are kept in the data directory unless somebody says otherwise."""
MANIFEST_FILE = "manifest.json"
MANIFEST_BYTES_MAX = 1 << 20
FOLDER_PREFIX = "fieldstation-"
FILES = {"station.db": "station", "telemetry.db": "telemetry"}
"""The files of a backup, and the target of the schema changes in each."""


class Contents(msgspec.Struct, frozen=True):
    """What is in one database: its schema and how many rows each table has."""

    schema_revision: str | None
    rows: dict[str, int]


class BackedUpFile(msgspec.Struct, frozen=True):
    """What one file must be."""

    size_bytes: int
    sha256: str
    contents: Contents


class Manifest(msgspec.Struct, frozen=True):
    """Describes a whole backup."""

    format: int
    station_version: str
    created_at: datetime
    files: dict[str, BackedUpFile]


class Backup(NamedTuple):
    """A finished backup and its manifest."""

    folder: Path
    manifest: Manifest


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest. Raises ``NotFound`` or ``Malformed``."""
    path = folder / MANIFEST_FILE
    try:
        with path.open("rb") as file:
            manifest = msgspec.json.decode(file.read(MANIFEST_BYTES_MAX), type=Manifest)
    except OSError as error:
        raise NotFound(f"{folder} is no backup: {MANIFEST_FILE} cannot be read there.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"{path} is damaged ({error}).") from error
    if manifest.format != FORMAT:
        raise Malformed(
            f"{path} has format {manifest.format}, and this version reads format {FORMAT};"
            " use the version of Fieldstation that made it."
        )
    if set(manifest.files) != set(FILES):
        raise Malformed(f"{path} must describe {' and '.join(FILES)}, and nothing else.")
    return manifest


def list_backups(directory: Path) -> list[Backup | Malformed]:
    """Return the backups in a directory, newest first, or what is wrong with them."""
    found: list[Backup | Malformed] = []
    for folder in sorted(directory.glob(f"{FOLDER_PREFIX}*"), reverse=True):
        try:
            found.append(Backup(folder, read_manifest(folder)))
        except (Malformed, NotFound) as error:
            found.append(error if isinstance(error, Malformed) else Malformed(error.detail))
    return found


def find_unfinished(directory: Path) -> list[Path]:
    """Return what crashes left behind; nothing needs it."""
    return sorted(directory.glob(f".{FOLDER_PREFIX}*.partial"))


@contextmanager
def open_backed_up(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that nobody writes any more, without making a log beside it."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        yield connection


def read_contents(connection: sqlite3.Connection, target: str) -> Contents:
    """Count what a database holds. Raises ``sqlite3.Error`` when it is damaged."""
    names = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
            " ORDER BY name"
        )
    ]
    version_table = f"schema_version_{target}"
    revision = None
    if version_table in names:
        # The names are the database's own.
        row = connection.execute(f"SELECT version_num FROM {version_table}").fetchone()  # noqa: S608
        revision = None if row is None else str(row[0])
    rows = {name: count_rows(connection, name) for name in names}
    return Contents(schema_revision=revision, rows=rows)


def count_rows(connection: sqlite3.Connection, table: str) -> int:
    quoted = table.replace('"', '""')
    (count,) = connection.execute(f'SELECT COUNT(*) FROM "{quoted}"').fetchone()  # noqa: S608
    return int(count)
