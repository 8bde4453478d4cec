"""Writes exports in the background: one at a time, each leased to the node that writes it."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy, Invalid, StationError
from fieldstation.core.settings import ExportSettings
from fieldstation.db.database import Database
from fieldstation.domains.exports import queries
from fieldstation.domains.exports.files import export_files
from fieldstation.domains.exports.models import Export
from fieldstation.domains.exports.ports import Attempt, ExportFiles
from fieldstation.domains.exports.schemas import ExportStatus
from fieldstation.domains.exports.service import KEPT, ExportDesk, selection_of, series_of
from fieldstation.domains.exports.writing import write_readings
from fieldstation.domains.telemetry.ports import Columns, Order, ReadingStore

log = structlog.get_logger(__name__)

LOOK_INTERVAL_S = 1.0
LEASE = timedelta(seconds=60)
DELAY = timedelta(seconds=60)
ATTEMPTS_MAX = 5
APPEND_BYTES = 1024 * 1024
GIVEN_UP = (
    "The station ended or was busy each of the five times that it wrote this; look at its log, "
    "then ask for it again."
)
DEFECT = "The station made a mistake; its log has the details."


def open_exports(
    database: Database,
    store: ReadingStore,
    directory: Path,
    *,
    clock: Clock,
    settings: ExportSettings,
    node_id: str,
) -> tuple[ExportDesk, "ExportWorker"]:
    """Return a node's desk and its worker, which share where files are."""
    files = export_files(database, directory)
    work_dir = directory / "work"
    desk = ExportDesk(database, store, files, clock=clock, settings=settings, work_dir=work_dir)
    worker = ExportWorker(
        database,
        store,
        files,
        clock=clock,
        settings=settings,
        node_id=node_id,
        work_dir=work_dir,
    )
    return desk, worker


class Lost(Exception):
    """The export was deleted meanwhile, or another node writes it now."""


@dataclass(slots=True)
class Progress:
    """How far an attempt is: a share of the period from its first reading to its last."""

    first_us: int
    last_us: int
    readings: int = 0
    at_us: int = 0

    def note(self, block: Columns) -> None:
        self.readings += len(block)
        self.at_us = block.ts_us[-1]

    @property
    def share(self) -> float:
        """Return a number below 1: the rest of the file is still to be written."""
        span = self.last_us - self.first_us
        done = (self.at_us - self.first_us) / span if span > 0 else 0.0
        return max(0.0, min(0.999, done))


class ExportWorker:
    """Takes what waits, the oldest first, and begins anew what a node left unfinished.

    An attempt writes a file of its own, so what an earlier one left is never mixed in.
    """

    def __init__(
        self,
        database: Database,
        store: ReadingStore,
        files: ExportFiles,
        *,
        clock: Clock,
        settings: ExportSettings,
        node_id: str,
        work_dir: Path,
    ) -> None:
        self._database = database
        self._store = store
        self._files = files
        self._clock = clock
        self._settings = settings
        self._node_id = node_id
        self._work_dir = work_dir

    async def run_forever(self) -> None:
        """Look for work until cancelled."""
        await retried(self.begin)
        while True:
            await retried(self.run_waiting)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def begin(self) -> None:
        """Give up what this node was at when it ended; nothing else writes yet. Raises ``Busy``."""
        await asyncio.to_thread(shutil.rmtree, self._work_dir, ignore_errors=True)
        async with self._database.transaction() as session:
            await queries.release(session, node_id=self._node_id, now=self._clock.now())

    async def run_waiting(self) -> None:
        """Write everything that waits. Raises ``Busy``."""
        while await self.run_next():
            pass

    async def run_next(self) -> bool:
        """Write the oldest export that waits; false if none does. Raises ``Busy``."""
        export = await self._lease()
        if export is None:
            return False
        attempt = Attempt(export.id, export.attempt)
        if export.attempt > ATTEMPTS_MAX:
            await self._end(attempt, ExportStatus.FAILED, error=GIVEN_UP)
            return True
        try:
            await self._write(export, attempt)
        except Lost:
            log.info("export_stopped", export=export.id)
        except Invalid as error:
            await self._end(attempt, ExportStatus.FAILED, error=error.detail)
        except StationError as error:
            log.warning("export_delayed", export=export.id, reason=error.detail)
            later = self._clock.now() + DELAY
            await self._change(attempt, status=ExportStatus.PENDING, leased_until=later)
        except Exception:  # a defect ends this export, not the worker
            log.exception("export_failed", export=export.id)
            await self._end(attempt, ExportStatus.FAILED, error=DEFECT)
        return True

    async def purge(self) -> None:
        """Delete what expired, and every file that belongs to nothing. Raises ``Busy``."""
        async with self._database.transaction() as session:
            await queries.delete_expired(session, self._clock.now())
        await self._files.keep_only()

    async def _lease(self) -> Export | None:
        now = self._clock.now()
        async with self._database.reading() as session:
            export = await queries.oldest_free(session, now)
        if export is None:
            return None
        async with self._database.transaction() as session:
            taken = await queries.take(
                session, export, node_id=self._node_id, now=now, until=now + LEASE
            )
        if not taken:
            return None
        export.attempt += 1
        return export

    async def _write(self, export: Export, attempt: Attempt) -> None:
        selection = selection_of(export)
        series = await series_of(self._store, selection)
        first, last = [
            block.ts_us[0] if len(block) else selection.start_us
            for block in [
                await self._store.page(
                    series,
                    start_us=selection.start_us,
                    end_us=selection.end_us,
                    order=order,
                    limit=1,
                )
                for order in (Order.OLDEST_FIRST, Order.NEWEST_FIRST)
            ]
        ]
        progress = Progress(first, last)
        written = write_readings(
            self._store, series, selection, work_dir=self._work_dir, note=progress.note
        )
        bytes_max = await self._room(export)
        size = 0
        async with aclosing(in_portions(written)) as portions:
            async for portion in portions:
                size += len(portion)
                if size > bytes_max:
                    raise self._too_large()
                await self._advance(attempt, progress, size)
                await self._files.append(attempt, portion)
        await self._end(
            attempt,
            ExportStatus.FINISHED,
            readings=progress.readings,
            bytes=size,
            progress=1.0,
        )

    async def _room(self, export: Export) -> int:
        async with self._database.reading() as session:
            others = await queries.bytes_of_others(session, export)
        return self._settings.organization_bytes_max - others

    def _too_large(self) -> Invalid:
        most = self._settings.organization_bytes_max // (1024 * 1024)
        return Invalid(
            f"The organization's exports would take more than {most} MiB; delete others, or ask "
            "for a shorter period.",
            code="exports_too_large",
        )

    async def _advance(self, attempt: Attempt, progress: Progress, size: int) -> None:
        """Note how far it is, and lease it on. Raises ``Lost`` and ``Busy``."""
        is_ours = await self._change(
            attempt,
            readings=progress.readings,
            progress=progress.share,
            bytes=size,
            leased_until=self._clock.now() + LEASE,
        )
        if not is_ours:
            raise Lost

    async def _end(
        self, attempt: Attempt, status: ExportStatus, *, error: str | None = None, **values: Any
    ) -> None:
        now = self._clock.now()
        ended = {"finished_at": now, "expires_at": now + KEPT, "leased_by": None}
        if status is ExportStatus.FAILED:
            values["bytes"] = 0
        await self._change(attempt, status=status, error=error, **ended, **values)

    async def _change(self, attempt: Attempt, **values: Any) -> bool:
        """Note something; false if the attempt is no longer this node's. Raises ``Busy``."""
        async with self._database.transaction() as session:
            return await queries.change(session, attempt, node_id=self._node_id, values=values)


async def retried(work: Callable[[], Awaitable[None]]) -> None:
    """Do something, later if the database is away."""
    while True:
        try:
            return await work()
        except Busy as error:
            log.warning("exports_delayed", reason=error.detail)
        await asyncio.sleep(LOOK_INTERVAL_S)


async def in_portions(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield pieces together, about ``APPEND_BYTES`` at a time."""
    waiting: list[bytes] = []
    size = 0
    async with aclosing(pieces):
        async for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size >= APPEND_BYTES:
                yield b"".join(waiting)
                waiting.clear()
                size = 0
    if waiting:
        yield b"".join(waiting)
