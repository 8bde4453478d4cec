"""Finds out whether a backup is whole and can be put back."""

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from fieldstation.adapters.sqlite_backup.durable_files import sha256_of
from fieldstation.adapters.sqlite_backup.manifest import (
    FILES,
    BackedUpFile,
    Contents,
    open_backed_up,
    read_contents,
    read_manifest,
)
from fieldstation.core.errors import Malformed, NotFound

FAULTS_PER_CHECK_MAX = 5


def find_faults(folder: Path, *, known_revisions: Collection[str]) -> list[str]:
    """Return one sentence per fault; empty when the backup is exactly what was made, and sound."""
    try:
        manifest = read_manifest(folder)
    except (NotFound, Malformed) as error:
        return [error.detail]
    return [
        fault
        for name, target in FILES.items()
        for fault in file_faults(
            folder / name, manifest.files[name], target=target, known_revisions=known_revisions
        )
    ]


def file_faults(
    path: Path, expected: BackedUpFile, *, target: str, known_revisions: Collection[str]
) -> Iterator[str]:
    try:
        size_bytes, digest = path.stat().st_size, sha256_of(path)
    except OSError as error:
        yield f"{path.name} cannot be read ({error.strerror})."
        return
    if size_bytes != expected.size_bytes:
        yield f"{path.name} has {size_bytes} bytes and should have {expected.size_bytes}."
    elif digest != expected.sha256:
        yield f"{path.name} was changed after the backup: its SHA-256 differs from the manifest."
    try:
        with open_backed_up(path) as connection:
            yield from integrity_faults(connection, path.name)
            found = read_contents(connection, target)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # What SQLite says of a damaged schema may quote bytes that are no text.
        reason = error if isinstance(error, sqlite3.Error) else "its schema is damaged"
        yield f"{path.name} cannot be used as a database ({reason})."
        return
    yield from content_faults(path.name, found, expected.contents, known_revisions)


def integrity_faults(connection: sqlite3.Connection, name: str) -> Iterator[str]:
    for (message,) in connection.execute(f"PRAGMA integrity_check({FAULTS_PER_CHECK_MAX})"):
        if message != "ok":
            yield f"{name} is damaged: {' '.join(str(message).split())}."
    orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(FAULTS_PER_CHECK_MAX)
    for table, row, parent, _ in orphans:
        yield f"{name}: row {row} of {table} refers to a row of {parent} that does not exist."


def content_faults(
    name: str, found: Contents, expected: Contents, known_revisions: Collection[str]
) -> Iterator[str]:
    if found.schema_revision not in known_revisions:
        yield (
            f"{name} has schema {found.schema_revision}, which this version does not know;"
            " install the version of Fieldstation that made the backup, or a newer one."
        )
    if found.schema_revision != expected.schema_revision:
        yield (
            f"{name} has schema {found.schema_revision},"
            f" the manifest says {expected.schema_revision}."
        )
    for table in sorted(found.rows.keys() | expected.rows.keys()):
        rows, wanted = found.rows.get(table, 0), expected.rows.get(table, 0)
        if rows != wanted:
            yield f"{name}: {table} has {rows} rows, the manifest says {wanted}."
