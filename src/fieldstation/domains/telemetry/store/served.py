"""The reading store on a database server, which several nodes may share.

Commits of all nodes stand in one order: each holds a lock while it looks for entries of other nodes
that it does not know yet, judges its readings and writes its own entry. So of two nodes that are
given the same reading, one sees that of the other.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Appended, LoggedBatch
from fieldstation.domains.telemetry.store import flushing
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.intake_log import (
    ENTRIES_PER_STATEMENT,
    SEQ_MAX,
    PackedBatch,
    newest_id,
    of_others,
)
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.recording import (
    Batch,
    Committing,
    Position,
    catch_up,
    end_of_log,
    record,
)
from fieldstation.domains.telemetry.store.stepped import SteppedStore
from fieldstation.domains.telemetry.store.steps import KeyTaken, Steps

WRITES_WAITING_MAX = 64
READS_WAITING_MAX = 256
INLINE_BYTES_MAX = 16_384

Result = TypeVar("Result")
Connection = Any
"""The driver's; only the server that lent it looks inside."""


class Server(Protocol):
    """How to reach one database; raises ``Busy`` for whatever passes by itself."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Let reads finish for a while, then close every connection."""
        ...

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that cannot write; several at a time."""
        ...

    async def transact(
        self,
        work: Callable[[Connection], Awaitable[Result]],
        *,
        alone: bool = False,
        commit: Callable[[Result], str] = ...,
    ) -> Result:
        """Run ``work`` in a transaction on the one connection that writes; never two at a time.

        ``alone``: no other node's transaction runs meanwhile. ``commit`` gives the statement that
        commits a result. When it fails nobody knows whether it took place; the caller has to look.
        """
        ...

    def flushing_alone(self) -> AbstractAsyncContextManager[None]:
        """Keep every other node from flushing; waits ten seconds for one that does."""
        ...

    async def drive(
        self, connection: Connection, steps: Steps[Result], *, in_thread: bool = False
    ) -> Result:
        """Run steps to their result; what they compute runs beside the event loop if wanted."""
        ...


class Commits(Protocol):
    """Whether another node committed since somebody waited last."""

    async def wait(self) -> None:
        """Return when another node may have committed. Raises ``Busy`` when that is unknowable."""
        ...


class ServedStore(SteppedStore):
    """A ``ReadingStore`` on a server, shared by nodes with different ``node_id``.

    One connection writes, a few more read. At most ``writes_waiting_max`` writes and
    ``reads_waiting_max`` reads wait or run at a time; one more raises ``Busy``. When the connection
    is lost while a commit runs, ``append`` raises ``Busy`` although the batch may stand: the retry
    then finds duplicates.
    """

    def __init__(
        self,
        server: Server,
        dialect: Dialect,
        *,
        node_id: str,
        clock: Clock,
        writes_waiting_max: int = WRITES_WAITING_MAX,
        reads_waiting_max: int = READS_WAITING_MAX,
    ) -> None:
        super().__init__(dialect=dialect, node_id=node_id, clock=clock)
        self._server = server
        self._turn = asyncio.Lock()
        self._writes = Slots(writes_waiting_max)
        self._reads = Slots(reads_waiting_max)
        self._closed = False
        self._position: Position | None = None
        self._undisturbed = False
        """Whether the last transaction of an append met no entry of another node."""
        self._following = asyncio.Lock()

    @abstractmethod
    def _hearing_commits(self) -> AbstractAsyncContextManager[Commits]:
        """Hear of every node's commits but one's own. Raises ``Busy``."""

    def _commit_entry(self) -> str:
        """Return the statements that commit a log entry of this node and tell the others."""
        return "COMMIT"

    async def open(self) -> None:
        await self._server.open()
        async with self._server.flushing_alone():
            await self._finish_flush()
        await self._write(catch_up(self._dialect, self._recent))

    async def open_beside(self) -> None:
        await self._server.open()
        await super().open_beside()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        async with self._turn:
            await self._server.close()

    async def _append(self, batch: Batch) -> Appended:
        async with self._writing():
            # Until the commit has returned nothing is known; the next append looks again.
            position, self._position = self._position, None
            done: Committing | None = None
            if position is not None and batch.is_plain and self._undisturbed:
                done = await self._enter(self._recording(batch, position))
            if done is None:
                done = await self._server.transact(
                    lambda connection: self._record(connection, batch, position),
                    alone=True,
                    commit=self._committing,
                )
            if len(done.kept):
                self._recent.add(done.kept, done.entry_id)
            self._position = done.position
            return done.appended

    async def _record(
        self, connection: Connection, batch: Batch, position: Position | None
    ) -> Committing:
        known_id = self._recent.last_id
        await self._server.drive(connection, catch_up(self._dialect, self._recent))
        self._undisturbed = self._recent.last_id == known_id
        if position is None:
            found = end_of_log(self._dialect, self._node_id)
            position = await self._server.drive(connection, found)
        return await self._server.drive(connection, self._recording(batch, position))

    def _committing(self, done: Committing) -> str:
        return self._commit_entry() if len(done.kept) else "COMMIT"

    def _recording(self, batch: Batch, position: Position) -> Steps[Committing]:
        return record(
            self._dialect,
            batch,
            node_id=self._node_id,
            position=position,
            now_us=self._clock.now_us(),
            recent=self._recent,
        )

    async def _enter(self, steps: Steps[Committing]) -> Committing | None:
        """Commit a plain batch in one statement where the database can: no other node writes just
        now or committed what is not known here. None, and nothing is written, otherwise."""
        steps.close()
        return None

    async def follow_others(
        self, after: Mapping[str, int]
    ) -> AsyncGenerator[list[LoggedBatch], None]:
        self._check_open()
        position = {**after, self._node_id: SEQ_MAX}
        async with self._hearing_commits() as commits:
            reached = await self._read(newest_id())
            while batches := await self.batches_after(position, batches_max=ENTRIES_PER_STATEMENT):
                position.update((batch.node_id, batch.seq) for batch in batches)
                yield batches
            while True:
                found = of_others(self._dialect, node_id=self._node_id, after_id=reached)
                last_id, packed = await self._read(found)
                fresh = [entry for entry in packed if entry.seq > position.get(entry.node_id, 0)]
                if fresh:
                    yield await unpacked(fresh)
                    position.update((entry.node_id, entry.seq) for entry in fresh)
                if last_id == reached:
                    await commits.wait()
                reached = last_id

    async def _read_readings(self, work: Callable[[Sequence[Part]], Steps[Result]]) -> Result:
        self._check_open()
        with self._reads:
            async with self._server.reading() as connection:
                await self._follow(connection)
                return await self._server.drive(
                    connection, work(self._recent.parts()), in_thread=True
                )

    async def _follow(self, connection: Connection) -> None:
        """Take over what other nodes committed meanwhile, drop what they flushed."""
        async with self._following:
            await self._server.drive(connection, catch_up(self._dialect, self._recent))
            done = await self._server.drive(connection, flushing.progress(self._dialect))
            self._recent.forget_through(done.flushed)

    @asynccontextmanager
    async def _flushing_alone(self) -> AsyncGenerator[None, None]:
        """Keep every node's flushes and deletions apart; begin with what they left in memory."""
        async with super()._flushing_alone(), self._server.flushing_alone():
            await self._forget_flushed()
            yield

    async def _forget_flushed(self) -> None:
        """Know what every node committed, drop what is in chunks, finish what a dead node began."""
        flushed = await self._unfinished_flushed()
        async with self._writing(), self._following, self._server.reading() as connection:
            if not self._recent.forget_through(flushed):
                # That flush ended inside one of our parts.
                self._recent.clear(flushed)
            await self._server.drive(connection, catch_up(self._dialect, self._recent))

    async def _read(self, steps: Steps[Result]) -> Result:
        self._check_open()
        with self._reads:
            async with self._server.reading() as connection:
                return await self._server.drive(connection, steps)

    async def _bytes_beside(self) -> int:
        return 0

    async def _write(self, steps: Steps[Result]) -> Result:
        async with self._writing():
            try:
                return await self._server.transact(
                    lambda connection: self._server.drive(connection, steps)
                )
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


async def unpacked(entries: Sequence[PackedBatch]) -> list[LoggedBatch]:
    """Decode entries, many bytes of them beside the event loop."""
    if sum(len(entry.packed) for entry in entries) <= INLINE_BYTES_MAX:
        return [entry.unpack() for entry in entries]
    return await asyncio.to_thread(lambda: [entry.unpack() for entry in entries])


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
