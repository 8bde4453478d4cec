"""The reading store in an SQLite file of its own.

One thread holds the only connection that writes and checkpoints; a few more threads read. Rows
travel as one multi-row ``VALUES`` statement per 1,024 rows, padded to a power of two so that a
handful of statements stay prepared; ``executemany`` would wait for the interpreter again at each
row. ``INSERT OR ROLLBACK`` spares the statement journal.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore
from typing import TypeVar

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Appended, LoggedBatch
from fieldstation.domains.telemetry.store.dialect import SqliteDialect
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.recording import (
    Batch,
    Position,
    catch_up,
    end_of_log,
    record,
)
from fieldstation.domains.telemetry.store.sqlite_connections import (
    Reading,
    connect_reader,
    connect_writer,
    drive,
    give_back,
    naming_errors,
    one_statement,
    transaction,
)
from fieldstation.domains.telemetry.store.stepped import SteppedStore
from fieldstation.domains.telemetry.store.steps import Steps

WRITES_WAITING_MAX = 64
READS_WAITING_MAX = 256
CHECKPOINT_PAGES = 2_000
# What one flush needs stays in the file; more is given back in steps of some ten milliseconds.
FREE_PAGES_KEPT = 2_000
FREE_PAGES_PER_STEP = 500

Result = TypeVar("Result")


class SqliteReadingStore(SteppedStore):
    """A ``ReadingStore`` in one file.

    At most ``writes_waiting_max`` writes and ``reads_waiting_max`` reads wait or run at a time; one
    more raises ``Busy``. A write whose awaiter is cancelled either happens as a whole or not at
    all; a cancelled read is interrupted.
    """

    def __init__(
        self,
        path: Path,
        *,
        node_id: str,
        clock: Clock,
        readers: int = 2,
        writes_waiting_max: int = WRITES_WAITING_MAX,
        reads_waiting_max: int = READS_WAITING_MAX,
        checkpoint_pages: int = CHECKPOINT_PAGES,
        free_pages_kept: int = FREE_PAGES_KEPT,
    ) -> None:
        super().__init__(dialect=SqliteDialect(), node_id=node_id, clock=clock)
        self._path = path
        self._checkpoint_pages = checkpoint_pages
        self._free_pages_kept = free_pages_kept
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="telemetry-writer")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="telemetry-reader")
        self._writes = BoundedSemaphore(writes_waiting_max)
        self._reads = BoundedSemaphore(reads_waiting_max)
        self._closed = False
        # Used in the writer thread only.
        self._connection: sqlite3.Connection | None = None
        self._position: Position | None = None
        # Connections of reader threads while none uses them; append and pop are atomic.
        self._idle: list[sqlite3.Connection] = []

    async def open(self) -> None:
        await self._submit(self._writer, self._writes, self._writing)
        await self._finish_flush()
        await self._submit(self._writer, self._writes, self._find_position)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Readers first: the writer's connection checkpoints when it closes last.
        await asyncio.to_thread(self._readers.shutdown)
        while self._idle:
            self._idle.pop().close()
        await asyncio.to_thread(self._close_writer)

    async def follow_others(
        self, after: Mapping[str, int]
    ) -> AsyncGenerator[list[LoggedBatch], None]:
        """Wait until cancelled: a file has one node."""
        del after
        await asyncio.Event().wait()
        yield []  # never: it makes this a generator

    async def _append(self, batch: Batch) -> Appended:
        return await self._submit(self._writer, self._writes, lambda: self._record(batch))

    async def _read_readings(self, work: Callable[[Sequence[Part]], Steps[Result]]) -> Result:
        return await self._read(work(self._recent.parts()))

    async def _read(self, steps: Steps[Result]) -> Result:
        reading = Reading(steps)

        def run() -> Result:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = connect_reader(self._path)
            try:
                return reading.run(connection)
            finally:
                self._idle.append(connection)

        try:
            return await self._submit(self._readers, self._reads, run)
        except asyncio.CancelledError:
            reading.give_up()
            raise

    async def _write(self, steps: Steps[Result]) -> Result:
        def run() -> Result:
            connection = self._writing()
            with transaction(connection):
                return drive(connection, steps)

        return await self._submit(self._writer, self._writes, run)

    async def _bytes_beside(self) -> int:
        log = self._path.with_name(f"{self._path.name}-wal")
        return await asyncio.to_thread(lambda: log.stat().st_size if log.exists() else 0)

    async def _give_back_space(self) -> None:
        await self._submit(
            self._writer,
            self._writes,
            lambda: give_back(
                self._writing(), pages_max=FREE_PAGES_PER_STEP, pages_kept=self._free_pages_kept
            ),
        )

    async def _submit(
        self, executor: ThreadPoolExecutor, slots: BoundedSemaphore, work: Callable[[], Result]
    ) -> Result:
        if self._closed:
            raise Busy("The telemetry store is closed.")
        if not slots.acquire(blocking=False):
            raise Busy("Too many requests wait for the telemetry store.")
        job = executor.submit(_named, work)
        job.add_done_callback(lambda _: slots.release())
        return await asyncio.wrap_future(job)

    def _writing(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect_writer(self._path, checkpoint_pages=self._checkpoint_pages)
        return self._connection

    def _find_position(self) -> Position:
        if self._position is None:
            drive(self._writing(), catch_up(self._dialect, self._recent))
            self._position = drive(self._writing(), end_of_log(self._dialect, self._node_id))
        return self._position

    def _record(self, batch: Batch) -> Appended:
        position = self._find_position()
        # Until the commit has returned nothing is known; the next append would look again.
        self._position = None
        steps = record(
            self._dialect,
            batch,
            node_id=self._node_id,
            position=position,
            now_us=self._clock.now_us(),
            recent=self._recent,
        )
        committing = one_statement if batch.is_plain else transaction
        with committing(self._writing()):
            done = drive(self._writing(), steps)
        if len(done.kept):
            self._recent.add(done.kept, done.entry_id)
        self._position = done.position
        return done.appended

    def _close_writer(self) -> None:
        self._writer.shutdown()
        if self._connection is not None:
            self._connection.close()


def _named(work: Callable[[], Result]) -> Result:
    with naming_errors():
        return work()
