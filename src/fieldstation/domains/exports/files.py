"""Where files of exports are: in the data directory, or in a database that several nodes share."""

import asyncio
import errno
from collections.abc import AsyncGenerator
from pathlib import Path

from fieldstation.db.database import Database
from fieldstation.domains.exports import queries
from fieldstation.domains.exports.errors import disk_full, no_such_export
from fieldstation.domains.exports.models import PART_BYTES_MAX
from fieldstation.domains.exports.ports import Attempt, ExportFiles

PIECE_BYTES = 256 * 1024
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
PARTS_PER_LOOK = 4


def export_files(database: Database, directory: Path) -> ExportFiles:
    """Return files that every node reaches: on SQLite there is but one node."""
    if database.dialect == "sqlite":
        return DirectoryFiles(database, directory)
    return DatabaseFiles(database)


class DirectoryFiles:
    """One file an attempt, ``<export>.<attempt>``."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory

    async def append(self, attempt: Attempt, data: bytes) -> None:
        try:
            await asyncio.to_thread(self._append, attempt, data)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise disk_full() from error

    def _append(self, attempt: Attempt, data: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path(attempt).open("ab") as file:
            file.write(data)

    async def read(self, attempt: Attempt) -> AsyncGenerator[bytes, None]:
        try:
            file = await asyncio.to_thread(self._path(attempt).open, "rb")
        except FileNotFoundError as error:
            raise no_such_export() from error
        with file:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece

    async def keep_only(self) -> None:
        # Files first: one that is found has its row already, unless that was deleted.
        found = await asyncio.to_thread(self._found)
        async with self._database.reading() as session:
            living = await queries.living(session, {attempt.export_id for attempt in found})
        for attempt in found - living:
            await asyncio.to_thread(self._path(attempt).unlink, missing_ok=True)

    def _found(self) -> set[Attempt]:
        if not self._directory.exists():
            return set()
        names = [path.name.rpartition(".") for path in self._directory.iterdir() if path.is_file()]
        return {Attempt(name, int(number)) for name, _, number in names if number.isdecimal()}

    def _path(self, attempt: Attempt) -> Path:
        return self._directory / f"{attempt.export_id}.{attempt.number}"


class DatabaseFiles:
    """Rows of at most ``PART_BYTES_MAX`` bytes, which any node reads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, attempt: Attempt, data: bytes) -> None:
        parts = [
            data[start : start + PART_BYTES_MAX] for start in range(0, len(data), PART_BYTES_MAX)
        ]
        async with self._database.transaction() as session:
            await queries.add_parts(session, attempt, parts)

    async def read(self, attempt: Attempt) -> AsyncGenerator[bytes, None]:
        """Yield pieces; no transaction is open while somebody takes one."""
        number = 1
        while parts := await self._parts(attempt, number):
            number += len(parts)
            yield b"".join(parts)
        if number == 1:
            raise no_such_export()

    async def _parts(self, attempt: Attempt, number: int) -> list[bytes]:
        async with self._database.reading() as session:
            found = await queries.parts_from(session, attempt, number, limit=PARTS_PER_LOOK)
        return list(found)

    async def keep_only(self) -> None:
        async with self._database.transaction() as session:
            await queries.delete_orphaned_parts(session)
