"""Connections to the telemetry file, and running steps on them in the thread that called."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from fieldstation.core.errors import Busy, disk_full
from fieldstation.domains.telemetry.store.dialect import insert_text
from fieldstation.domains.telemetry.store.steps import (
    Insert,
    KeyTaken,
    Query,
    Row,
    Steps,
)

ROWS_PER_STATEMENT_MAX = 1_024
ROWS_PER_STATEMENT_MIN = 8
LOCK_WAIT_S = 5.0
WRITER_CACHE_KIB = 32_768
READER_CACHE_KIB = 8_192
WAL_KEPT_BYTES_MAX = 64 * 1024 * 1024
INCREMENTAL = 2

# What passes by itself once there is room, or the lock or the device is back.
PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_INTERRUPT,
}
TAKEN = {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE}

Result = TypeVar("Result")


def connect_writer(path: Path, *, checkpoint_pages: int) -> sqlite3.Connection:
    """Open the one connection that writes; each commit is on the disk before it returns."""
    connection = sqlite3.connect(
        path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    # Some builds overwrite all that is deleted; what is sealed would be written twice more.
    connection.execute("PRAGMA secure_delete=FAST")
    connection.execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")
    connection.execute(f"PRAGMA journal_size_limit={WAL_KEPT_BYTES_MAX}")
    connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that can neither write nor checkpoint, not even when it closes last."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=LOCK_WAIT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only=ON")
    connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")
    return connection


def give_back(connection: sqlite3.Connection, *, pages_max: int, pages_kept: int) -> int:
    """Shorten the file by some of its free pages; return by how many.

    None in a file that was made without ``auto_vacuum=INCREMENTAL``: its free pages are used again.
    """
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    pages = min(pages_max, free - pages_kept)
    if pages <= 0 or mode != INCREMENTAL:
        return 0
    # It is a step a page, and ``execute`` takes only the first of a statement without columns.
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")
    return pages


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """Commit what the block wrote, or nothing of it."""
    undo_leftover(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def one_statement(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """Let the block's only statement that writes be its own transaction.

    The interpreter is given away three times instead of nine, and beside a busy event loop each
    time has to be waited for.
    """
    undo_leftover(connection)
    yield


def undo_leftover(connection: sqlite3.Connection) -> None:
    """Recover from a rollback that failed earlier."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def naming_errors() -> Generator[None, None, None]:
    """Translate what passes by itself to ``Busy`` and a taken key to ``KeyTaken``.

    The rest is ours to mend.
    """
    try:
        yield
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode not in TAKEN:
            raise
        raise KeyTaken(str(error)) from error
    except sqlite3.OperationalError as error:
        # Only errors of SQLite itself have a code; its low byte is the kind.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in PASSING:
            raise
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise disk_full() from error
        raise Busy(
            f"The telemetry file cannot be used now ({error}); free some space or try again."
        ) from error


def drive(
    connection: sqlite3.Connection,
    steps: Steps[Result],
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Run steps to their result; ``stopped`` is asked before each statement."""
    reply: list[Row] = []
    try:
        step = next(steps)
        while not stopped():
            reply = _execute(connection, step)
            step = steps.send(reply)
    except StopIteration as finished:
        return finished.value
    raise Busy("The query was given up.")


def _execute(connection: sqlite3.Connection, step: Query | Insert) -> list[Row]:
    if isinstance(step, Query):
        return connection.execute(step.sql, step.args).fetchall()
    rows = len(step.columns[0])
    for start in range(0, rows, ROWS_PER_STATEMENT_MAX):
        _insert(connection, step, start, min(rows, start + ROWS_PER_STATEMENT_MAX))
    return []


def _insert(connection: sqlite3.Connection, step: Insert, start: int, end: int) -> None:
    """Run one statement for many rows, padded with NULLs to a power of two.

    The few texts stay prepared.
    """
    count = end - start
    size = 1 if count == 1 else max(ROWS_PER_STATEMENT_MIN, 1 << (count - 1).bit_length())
    width = len(step.names)
    flat: list[object] = [None] * (size * width)
    for at, column in enumerate(step.columns):
        flat[at : count * width : width] = column[start:end]
    text = insert_text(step.table.name, step.names, rows=size, on_conflict=step.on_conflict)
    connection.execute(text, flat)


class Reading(Generic[Result]):
    """One run of reading steps that its caller can give up from another thread."""

    def __init__(self, steps: Steps[Result]) -> None:
        self._steps = steps
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._given_up = False

    def run(self, connection: sqlite3.Connection) -> Result:
        with self._lock:
            self._connection = connection
        try:
            return drive(connection, self._steps, stopped=lambda: self._given_up)
        finally:
            # From here on the connection serves somebody else and must not be interrupted.
            with self._lock:
                self._connection = None

    def give_up(self) -> None:
        """Interrupt the statement that runs, and start no other."""
        with self._lock:
            self._given_up = True
            if self._connection is not None:
                self._connection.interrupt()
