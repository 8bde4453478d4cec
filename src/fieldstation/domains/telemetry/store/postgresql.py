"""The reading store on PostgreSQL, through asyncpg (the extra ``postgresql``).

Readings are copied straight in, in the transaction of their log entry. Where another node was first
with a key the copy fails as a whole; the batch is judged again with every reading a suspect, while
no other node writes, so exactly one reading stands.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Appended, Columns, Refusal
from fieldstation.domains.telemetry.store.dialect import PostgresqlDialect
from fieldstation.domains.telemetry.store.postgresql_connections import Server, drive
from fieldstation.domains.telemetry.store.recording import (
    ATTEMPTS_MAX,
    Batch,
    Committing,
    KnownHours,
    Position,
    end_of_log,
    record,
)
from fieldstation.domains.telemetry.store.stepped import SteppedStore
from fieldstation.domains.telemetry.store.steps import KeyTaken, Steps

if TYPE_CHECKING:
    import asyncpg

WRITES_WAITING_MAX = 64
READS_WAITING_MAX = 256

Result = TypeVar("Result")


class PostgresqlReadingStore(SteppedStore):
    """A ``ReadingStore`` in a PostgreSQL database, shared by nodes with different ``node_id``.

    One connection writes, ``readers`` more read. At most ``writes_waiting_max`` writes and
    ``reads_waiting_max`` reads wait or run at a time; one more raises ``Busy``. When the connection
    is lost while a commit runs, ``append`` raises ``Busy`` although the batch may stand: the retry
    then finds duplicates.
    """

    def __init__(
        self,
        dsn: str,
        *,
        node_id: str,
        clock: Clock,
        readers: int = 4,
        writes_waiting_max: int = WRITES_WAITING_MAX,
        reads_waiting_max: int = READS_WAITING_MAX,
    ) -> None:
        super().__init__(dialect=PostgresqlDialect(), node_id=node_id, clock=clock)
        self._server = Server(dsn, readers=readers)
        self._turn = asyncio.Lock()
        self._writes = Slots(writes_waiting_max)
        self._reads = Slots(reads_waiting_max)
        self._closed = False
        self._position: Position | None = None
        self._known = KnownHours()

    async def open(self) -> None:
        await self._server.open()
        await self._write(end_of_log(self._dialect, self._node_id))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        async with self._turn:
            await self._server.close()

    async def append(
        self, readings: Columns, *, suspects: Sequence[int], refusals: Sequence[Refusal] = ()
    ) -> Appended:
        batch = Batch(readings, suspects, refusals)
        async with self._writing():
            for attempt in range(ATTEMPTS_MAX):
                try:
                    return await self._record(batch, alone=attempt > 0)
                except KeyTaken:
                    # A wrong guess, or another node was first: look at every reading this time.
                    batch = replace(batch, suspects=range(len(readings)))
        raise Busy("Other nodes write the same readings; try again.")

    async def _record(self, batch: Batch, *, alone: bool) -> Appended:
        position = self._position
        # Until the commit has returned nothing is known; the next append looks again.
        self._position = None

        async def work(connection: "asyncpg.Connection") -> Committing:
            found = position or await drive(connection, end_of_log(self._dialect, self._node_id))
            steps = record(
                self._dialect,
                batch,
                node_id=self._node_id,
                position=found,
                now_us=self._clock.now_us(),
                known=self._known,
            )
            return await drive(connection, steps)

        done = await self._server.transact(work, alone=alone)
        self._position = done.position
        self._known.remember(done.hours)
        return done.appended

    async def _read(self, steps: Steps[Result]) -> Result:
        self._check_open()
        with self._reads:
            async with self._server.reading() as connection:
                return await drive(connection, steps)

    async def _bytes_beside(self) -> int:
        return 0

    async def _write(self, steps: Steps[Result]) -> Result:
        async with self._writing():
            try:
                return await self._server.transact(lambda connection: drive(connection, steps))
            except KeyTaken as error:
                raise Busy("Another node changes the same rows; try again.") from error

    @asynccontextmanager
    async def _writing(self) -> AsyncGenerator[None, None]:
        with self._writes:
            async with self._turn:
                self._check_open()
                yield

    def _check_open(self) -> None:
        if self._closed:
            raise Busy("The telemetry store is closed.")


class Slots:
    """How many may wait or run at a time; one more raises ``Busy``."""

    def __init__(self, slots_max: int) -> None:
        self._free = slots_max

    def __enter__(self) -> None:
        if self._free == 0:
            raise Busy("Too many requests wait for the telemetry store.")
        self._free -= 1

    def __exit__(self, *_: object) -> None:
        self._free += 1
