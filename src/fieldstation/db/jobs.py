"""Periodic work that exactly one node does at a time: jobs leased in a table."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import String, Text, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy
from fieldstation.db.base import ID_LENGTH, Base
from fieldstation.db.database import Database
from fieldstation.db.statements import rows_changed
from fieldstation.db.types import UtcInstant

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 1.0


class Job(Base):
    """When a periodic job is due, and which node holds it until when."""

    __tablename__ = "job"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(UtcInstant)
    leased_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    leased_until: Mapped[datetime | None] = mapped_column(UtcInstant)
    last_finished_at: Mapped[datetime | None] = mapped_column(UtcInstant)
    last_error: Mapped[str | None] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """Work that runs every ``interval_s``; it may be cut off after ``lease_s`` and must bear
    running again."""

    name: str
    interval_s: float
    run: Callable[[], Awaitable[object]]
    lease_s: float = 60.0


class JobRunner:
    """Runs the due jobs of this node one after the other; a crashed node's lease simply expires.

    Its own leases a node takes again at once: since it runs one job at a time, they are from before
    a crash, or from a run that a database which went away did not let it end.
    """

    def __init__(
        self, database: Database, clock: Clock, *, node_id: str, jobs: Sequence[PeriodicJob]
    ) -> None:
        self._database = database
        self._clock = clock
        self._node_id = node_id
        self._jobs = tuple(jobs)

    async def run_forever(self) -> None:
        """Poll until cancelled; a database that is away only delays the next look."""
        while True:
            try:
                await self.run_due()
            except Busy as error:
                log.warning("jobs_delayed", reason=error.detail)
            await asyncio.sleep(POLL_INTERVAL_S)

    async def run_due(self) -> list[str]:
        """Lease and run each job that is due; return the names of those that ran."""
        due = await self._due_names()
        ran: list[str] = []
        for job in self._jobs:
            if job.name in due and await self._lease(job):
                await self._run(job)
                ran.append(job.name)
        return ran

    async def _due_names(self) -> set[str]:
        now = self._clock.now()
        async with self._database.reading() as session:
            known = {job.name: job for job in await session.scalars(select(Job))}
        missing = [job.name for job in self._jobs if job.name not in known]
        if missing:
            await self._register(missing)
        return {
            job.name
            for job in self._jobs
            if job.name in missing or self._is_due(known[job.name], now)
        }

    def _is_due(self, job: Job, now: datetime) -> bool:
        is_free = job.leased_until is None or job.leased_until <= now
        return job.due_at <= now and (is_free or job.leased_by == self._node_id)

    async def _register(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(IntegrityError):  # another node was first
                async with self._database.transaction() as session:
                    session.add(Job(name=name, due_at=self._clock.now()))

    async def _lease(self, job: PeriodicJob) -> bool:
        now = self._clock.now()
        async with self._database.transaction() as session:
            leased = await rows_changed(
                session,
                update(Job)
                .where(
                    Job.name == job.name,
                    Job.due_at <= now,
                    (Job.leased_until.is_(None))
                    | (Job.leased_until <= now)
                    | (Job.leased_by == self._node_id),
                )
                .values(
                    leased_by=self._node_id,
                    leased_until=now + timedelta(seconds=job.lease_s),
                ),
            )
        return leased == 1

    async def _run(self, job: PeriodicJob) -> None:
        failure: str | None = None
        try:
            async with asyncio.timeout(job.lease_s):
                await job.run()
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"[:1000]
            log.exception("job_failed", job=job.name)
        now = self._clock.now()
        async with self._database.transaction() as session:
            await session.execute(
                update(Job)
                .where(Job.name == job.name, Job.leased_by == self._node_id)
                .values(
                    due_at=now + timedelta(seconds=job.interval_s),
                    leased_by=None,
                    leased_until=None,
                    last_finished_at=now,
                    last_error=failure,
                )
            )
