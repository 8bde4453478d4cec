"""A periodic job runs on one node at a time, and again after a crash."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Busy
from fieldstation.core.settings import DatabaseSettings
from fieldstation.db.database import Database
from fieldstation.db.engines import create_engines
from fieldstation.db.jobs import Job, JobRunner, PeriodicJob
from tests.db.conftest import START
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


class Work:
    """Counts its runs, and fails or waits when told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.failure: Exception | None = None
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def run(self) -> None:
        self.runs += 1
        await self.going_on.wait()
        if self.failure is not None:
            raise self.failure


def runner(
    database: Database, clock: ManualClock, *jobs: PeriodicJob, node: str = "a"
) -> JobRunner:
    return JobRunner(database, clock, node_id=node, jobs=jobs)


def every(work: Work, *, name: str = "tidy", interval_s: float = 300) -> PeriodicJob:
    return PeriodicJob(name, interval_s, work.run, lease_s=60)


async def stored(database: Database, name: str = "tidy") -> Job:
    async with database.reading() as session:
        found = await session.scalar(select(Job).where(Job.name == name))
    assert found is not None
    return found


async def test_a_new_job_runs_at_once_and_then_when_it_is_due(
    database: Database, clock: ManualClock
) -> None:
    work = Work()
    jobs = runner(database, clock, every(work))
    assert await jobs.run_due() == ["tidy"]
    clock.advance(299)
    assert await jobs.run_due() == []
    clock.advance(1)
    assert await jobs.run_due() == ["tidy"]
    assert work.runs == 2


async def test_only_one_of_two_nodes_runs_a_job(database: Database, clock: ManualClock) -> None:
    work = Work()
    nodes = [runner(database, clock, every(work), node=name) for name in "abcd"]
    for expected in (1, 2, 3):
        ran = await asyncio.gather(*(node.run_due() for node in nodes))
        assert sorted(ran) == [[], [], [], ["tidy"]]
        assert work.runs == expected
        clock.advance(300)


async def test_a_job_that_still_runs_elsewhere_is_left_alone(
    database: Database, clock: ManualClock
) -> None:
    work = Work()
    work.going_on.clear()
    here, there = (runner(database, clock, every(work), node=name) for name in "ab")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(here.run_due(), name="running")
        await wait_until(lambda: work.runs == 1)
        clock.advance(59)
        assert await there.run_due() == []
        work.going_on.set()
    assert running.result() == ["tidy"]
    assert work.runs == 1


async def test_a_crashed_node_s_lease_expires(database: Database, clock: ManualClock) -> None:
    work, crashed = Work(), Work()
    crashed.going_on.clear()
    async with asyncio.TaskGroup() as tasks:
        dying = tasks.create_task(runner(database, clock, every(crashed)).run_due(), name="dying")
        await wait_until(lambda: crashed.runs == 1)
        dying.cancel()
    heir = runner(database, clock, every(work), node="b")
    assert (await stored(database)).leased_by == "a"
    clock.advance(59)
    assert await heir.run_due() == []
    clock.advance(1)
    assert await heir.run_due() == ["tidy"]
    assert (await stored(database)).leased_by is None


async def test_a_node_that_crashed_takes_its_own_lease_again_at_once(
    database: Database, clock: ManualClock
) -> None:
    work, crashed = Work(), Work()
    crashed.going_on.clear()
    async with asyncio.TaskGroup() as tasks:
        dying = tasks.create_task(runner(database, clock, every(crashed)).run_due(), name="dying")
        await wait_until(lambda: crashed.runs == 1)
        dying.cancel()
    assert await runner(database, clock, every(work)).run_due() == ["tidy"]
    assert (await stored(database)).due_at == START + timedelta(seconds=300)


class Leaving(Database):
    """A database that goes away after so many transactions."""

    transactions_left = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        self.transactions_left -= 1
        if self.transactions_left < 0:
            raise Busy("away")
        async with super().transaction() as session:
            yield session


async def test_a_job_whose_end_could_not_be_noted_runs_again_at_once(
    database: Database, url: URL, clock: ManualClock
) -> None:
    del database  # which made the tables
    work, leaving = Work(), Leaving(create_engines(url, DatabaseSettings()), lambda _event: None)
    jobs = runner(leaving, clock, every(work))
    leaving.transactions_left = 2  # the job's row and its lease
    with pytest.raises(Busy):
        await jobs.run_due()
    leaving.transactions_left = 99
    assert await jobs.run_due() == ["tidy"]
    assert work.runs == 2
    assert await jobs.run_due() == []
    await leaving.close()


async def test_a_failure_is_recorded_and_the_others_run(
    database: Database, clock: ManualClock
) -> None:
    broken, fine = Work(), Work()
    broken.failure = ValueError("no such file")
    jobs = runner(database, clock, every(broken, name="broken"), every(fine, name="fine"))
    assert await jobs.run_due() == ["broken", "fine"]
    assert fine.runs == 1
    failed = await stored(database, "broken")
    assert failed.last_error == "ValueError: no such file"
    assert failed.due_at == START + timedelta(seconds=300)
    assert (await stored(database, "fine")).last_error is None
    broken.failure = None
    clock.advance(300)
    await jobs.run_due()
    assert (await stored(database, "broken")).last_error is None


async def test_a_job_that_takes_longer_than_its_lease_is_cut_off(
    database: Database, clock: ManualClock
) -> None:
    work = Work()
    work.going_on.clear()
    jobs = runner(database, clock, PeriodicJob("slow", 300, work.run, lease_s=0.05))
    assert await jobs.run_due() == ["slow"]
    assert (await stored(database, "slow")).last_error == "TimeoutError: "


async def test_a_job_is_leased_when_its_turn_comes_and_not_before(
    database: Database, clock: ManualClock
) -> None:
    """Leases taken all at once would run out while the first jobs still work."""
    ran: list[str] = []

    async def long_work() -> None:
        clock.advance(50)

    async def last_work() -> None:
        ran.append("here")
        clock.advance(20)  # within its own lease, beyond one that began 50 s ago
        await there.run_due()

    async def same_elsewhere() -> None:
        ran.append("there")

    jobs = [PeriodicJob("a-long", 300, long_work), PeriodicJob("b-last", 300, last_work)]
    there = runner(database, clock, PeriodicJob("b-last", 300, same_elsewhere), node="b")
    await runner(database, clock, *jobs).run_due()
    assert ran == ["here"]


async def test_nodes_that_start_together_register_their_jobs_once(
    database: Database, clock: ManualClock
) -> None:
    for n in range(10):
        work = Work()
        job = every(work, name=f"new-{n}")
        nodes = [runner(database, clock, job, node=name) for name in "abcd"]
        await asyncio.gather(*(node.run_due() for node in nodes))
        assert work.runs == 1


class Away(Database):
    """A database that does not answer."""

    looks = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        Away.looks += 1
        raise Busy("away")
        yield


async def test_the_runner_outlives_a_database_that_is_away(url: URL, clock: ManualClock) -> None:
    away = Away(create_engines(url, DatabaseSettings()), lambda _event: None)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(runner(away, clock).run_forever(), name="running")
        await wait_until(lambda: Away.looks > 0)
        assert not running.done()
        running.cancel()
