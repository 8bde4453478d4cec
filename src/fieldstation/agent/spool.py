"""Where samples wait on disk until the station has acknowledged them."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fieldstation.agent.logs import log_event
from fieldstation.agent.readings import Reading, encode_readings
from fieldstation.core.errors import Busy, Conflict

SCHEMA = """
CREATE TABLE IF NOT EXISTS sample (
    id INTEGER PRIMARY KEY, readings INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO tally VALUES ('dropped', 0);
"""
UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SpooledSample(NamedTuple):
    """A sample that waits; ``body`` is its readings as ``encode_readings`` made them."""

    id: int
    readings: int
    body: bytes


class Spool:
    """A bounded queue in one SQLite file that survives the death of the process and a power loss.

    When full, the oldest samples make room and ``dropped`` counts their readings. The limits are
    over what is queued; the file itself is somewhat larger and keeps its size. A file that cannot
    be read is set aside and a new one begun. Raises ``Conflict`` if another process holds the file,
    ``Busy`` if the disk does not take it. Not for two threads at a time.
    """

    def __init__(self, path: Path, *, readings_max: int, bytes_max: int) -> None:
        self._path = path
        self._readings_max = readings_max
        self._bytes_max = bytes_max
        self._last_id = 0
        self._db: sqlite3.Connection | None = None
        self._open()

    @property
    def readings(self) -> int:
        """How many readings wait."""
        return self._readings

    @property
    def dropped(self) -> int:
        """How many readings were dropped unacknowledged because the spool was full, ever."""
        return self._dropped

    @property
    def last_id(self) -> int:
        """The id of the newest sample; ids only grow while the process lives."""
        return self._last_id

    def append(self, readings: Sequence[Reading]) -> None:
        """Store one sample durably, dropping the oldest ones if it does not fit."""
        body = encode_readings(readings)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO sample VALUES (?, ?, ?)", (self._last_id + 1, len(readings), body)
            )
            lost_readings, lost_bytes = drop_oldest(
                db,
                excess_readings=self._readings + len(readings) - self._readings_max,
                excess_bytes=self._bytes + len(body) - self._bytes_max,
            )
        self._last_id += 1
        self._readings += len(readings) - lost_readings
        self._bytes += len(body) - lost_bytes
        self._dropped += lost_readings

    def oldest(self, readings_max: int, *, after_id: int = 0) -> list[SpooledSample]:
        """Return the oldest samples behind ``after_id`` up to ``readings_max``, at least one."""
        batch: list[SpooledSample] = []
        readings = 0
        with self._transaction() as db:
            for sample in samples(db, after_id):
                readings += sample.readings
                if batch and readings > readings_max:
                    break
                batch.append(sample)
        return batch

    def remove(self, ids: Sequence[int]) -> None:
        """Forget acknowledged samples; one that was dropped meanwhile is no error."""
        with self._transaction() as db:
            removed = [
                row
                for sample_id in ids
                for row in db.execute(
                    "DELETE FROM sample WHERE id = ? RETURNING readings, length(body)", (sample_id,)
                )
            ]
        self._readings -= sum(readings for readings, _ in removed)
        self._bytes -= sum(size for _, size in removed)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db or self._open()
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            if is_unreadable(error):
                db.close()
                self._db = None
                self._begin_anew(error)
            elif db.in_transaction:
                db.execute("ROLLBACK")
            raise self._explain(error) from error

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not is_unreadable(error):
                raise self._explain(error) from error
            return self._begin_anew(error)
        except OSError as error:
            raise self._explain(error) from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, timeout=0.5, check_same_thread=False)
        try:
            # Exclusive: a second agent on the same file would send and remove our samples.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            [(verdict,)] = db.execute("PRAGMA quick_check(1)")
            if verdict != "ok":
                raise unreadable(verdict)
            db.executescript(SCHEMA)
            [(last_id, self._readings, self._bytes)] = db.execute(
                "SELECT coalesce(max(id), 0), coalesce(sum(readings), 0),"
                " coalesce(sum(length(body)), 0) FROM sample"
            )
            [(self._dropped,)] = db.execute("SELECT value FROM tally WHERE name = 'dropped'")
        except sqlite3.DatabaseError:
            db.close()
            raise
        # Never lower than before: an id of a file that was set aside must mean nothing in this one.
        self._last_id = max(self._last_id, last_id)
        self._db = db
        return db

    def _begin_anew(self, cause: sqlite3.DatabaseError) -> sqlite3.Connection:
        """Keep the unreadable file (only the latest) for whoever wants to look; start empty."""
        aside = self._path.with_suffix(".corrupt")
        try:
            self._path.replace(aside)
            for ending in ("-wal", "-shm"):
                Path(f"{self._path}{ending}").unlink(missing_ok=True)
            db = self._connect()
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._explain(error) from error
        log_event(
            "error",
            "spool_set_aside",
            detail=f"The spool could not be read ({cause}); it is now {aside}; a new one begins.",
        )
        return db

    def _explain(self, error: sqlite3.DatabaseError | OSError) -> Busy | Conflict:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            return Conflict(
                f"Another agent uses the spool {self._path}; stop it or choose another --data-dir."
            )
        return Busy(
            f"The spool {self._path} does not work ({error});"
            " mend the disk or choose another --data-dir."
        )


def samples(db: sqlite3.Connection, after_id: int) -> Iterator[SpooledSample]:
    rows = db.execute("SELECT id, readings, body FROM sample WHERE id > ? ORDER BY id", (after_id,))
    with contextlib.closing(rows):
        yield from map(SpooledSample._make, rows)


def drop_oldest(
    db: sqlite3.Connection, *, excess_readings: int, excess_bytes: int
) -> tuple[int, int]:
    """Delete from the oldest on until both excesses are gone; return readings and bytes deleted."""
    lost_readings = lost_bytes = last_id = 0
    for sample in samples(db, 0):
        if lost_readings >= excess_readings and lost_bytes >= excess_bytes:
            break
        last_id = sample.id
        lost_readings += sample.readings
        lost_bytes += len(sample.body)
    if last_id:
        db.execute("DELETE FROM sample WHERE id <= ?", (last_id,))
        db.execute("UPDATE tally SET value = value + ? WHERE name = 'dropped'", (lost_readings,))
    return lost_readings, lost_bytes


def unreadable(verdict: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(verdict)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def is_unreadable(error: sqlite3.DatabaseError) -> bool:
    # Extended codes carry the kind in their low byte.
    return error.sqlite_errorcode & 0xFF in UNREADABLE
