"""Exports in the background: whole, once, by one node, through crashes, limits and deletion."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fieldstation.core.errors import Busy, Conflict, NotFound, TooManyRequests
from fieldstation.domains.audit.schemas import Actor
from fieldstation.domains.exports import service
from fieldstation.domains.exports.jobs import ExportWorker
from fieldstation.domains.exports.ports import Attempt
from fieldstation.domains.exports.schemas import ExportCreate, ExportRead, ExportStatus
from fieldstation.domains.exports.service import ExportDesk
from fieldstation.domains.identity.schemas.callers import Caller
from tests.domains.exports.conftest import READINGS, Exports
from tests.faults.small_disk import small_disk
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio
OWNER = Caller(
    organization_id="org",
    user_id=None,
    device_id=None,
    scopes=frozenset({"data:export"}),
    superuser=False,
    subjects=frozenset(),
    expires_at=None,
    actor=Actor("user", "ada"),
)


async def asked(desk: ExportDesk, **form: Any) -> ExportRead:
    """Ask for a job."""
    found = await desk.ask(
        OWNER, ExportCreate.model_validate({"format": "jsonl", **form}), at_once=False
    )
    assert isinstance(found, ExportRead)
    assert found.status is ExportStatus.PENDING
    return found


async def read(exports: Exports, export_id: str) -> ExportRead:
    async with exports.database.reading() as session:
        return await service.get_export(session, OWNER.scope, export_id)


async def values_of(desk: ExportDesk, export_id: str) -> list[float]:
    """Return the values of a finished file, checking its length."""
    sending = await desk.fetch(OWNER.scope, export_id)
    data = b"".join([piece async for piece in sending.pieces])
    assert len(data) == sending.bytes
    return [json.loads(line)["value"] for line in data.splitlines()]


async def delete(exports: Exports, export_id: str) -> None:
    async with exports.database.transaction() as session:
        await service.delete_export(session, OWNER, export_id, now=exports.clock.now())


async def kept(exports: Exports, attempt: Attempt) -> int:
    """Return how many bytes of an attempt are kept anywhere."""
    desk, _ = exports.open()
    try:
        return sum([len(piece) async for piece in desk.files.read(attempt)])
    except NotFound:
        return 0


async def test_a_job_writes_every_reading_once_in_order_and_says_how_far_it_is(
    exports: Exports,
) -> None:
    desk, worker = exports.open()
    export = await asked(desk)
    with pytest.raises(Conflict, match="pending"):
        await desk.fetch(OWNER.scope, export.id)

    assert await worker.run_next()
    done = await read(exports, export.id)

    assert (done.status, done.progress, done.readings) == ("finished", 1.0, READINGS)
    assert await values_of(desk, export.id) == [float(at) for at in range(READINGS)]
    assert await values_of(desk, export.id) == await values_of(desk, export.id)
    assert not await worker.run_next()


async def stopped_in_the_middle(
    exports: Exports, worker: ExportWorker, export_id: str, *, attempt: int = 1
) -> ExportRead:
    """Run a worker until it has written something, then end it as a crash would."""

    async def has_written() -> bool:
        return await kept(exports, Attempt(export_id, attempt)) > 0

    exports.store.stands_still = True
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run_next())
        await wait_until(has_written)
        running.cancel()
    exports.store.stands_still = False
    assert running.cancelled()
    return await read(exports, export_id)


async def test_what_a_node_left_unfinished_is_written_anew_by_another_once_its_lease_is_over(
    exports: Exports,
) -> None:
    desk, dying = exports.open("node-a")
    _, other = exports.open("node-b")
    export = await asked(desk)
    begun = await stopped_in_the_middle(exports, dying, export.id)
    assert begun.status is ExportStatus.RUNNING
    assert 0 < begun.progress < 1
    assert 0 < begun.readings < READINGS

    assert not await other.run_next(), "the lease still holds"
    exports.clock.advance(61)
    assert await other.run_next()

    assert await values_of(desk, export.id) == [float(at) for at in range(READINGS)]
    assert await kept(exports, Attempt(export.id, 1)) > 0
    await other.purge()
    assert await kept(exports, Attempt(export.id, 1)) == 0
    assert await kept(exports, Attempt(export.id, 2)) > 0


async def test_a_node_that_starts_again_takes_its_own_up_at_once_and_not_for_ever(
    exports: Exports,
) -> None:
    desk, _ = exports.open()
    export = await asked(desk)
    for attempt in range(1, 6):
        _, worker = exports.open()
        await worker.begin()
        await stopped_in_the_middle(exports, worker, export.id, attempt=attempt)
    _, worker = exports.open()
    await worker.begin()
    assert await worker.run_next()
    failed = await read(exports, export.id)
    assert (failed.status, failed.bytes) == ("failed", 0)
    assert failed.error is not None
    assert "five times" in failed.error


async def test_deleting_one_that_is_written_stops_it_and_its_file_goes(exports: Exports) -> None:
    desk, worker = exports.open()
    export, following = await asked(desk), await asked(desk)

    async def has_written() -> bool:
        return (await read(exports, export.id)).bytes > 1_500_000

    exports.store.stands_still = True
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run_next())
        await wait_until(has_written)
        await delete(exports, export.id)
        exports.store.stands_still = False
    assert running.result()
    written = await kept(exports, Attempt(export.id, 1))
    with pytest.raises(NotFound):
        await read(exports, export.id)
    await worker.purge()
    assert await kept(exports, Attempt(export.id, 1)) == 0
    assert await worker.run_next()
    whole = await read(exports, following.id)
    assert whole.status is ExportStatus.FINISHED
    assert 0 < written < whole.bytes


async def test_files_over_the_organizations_bytes_fail_and_say_what_to_do(
    exports: Exports,
) -> None:
    desk, worker = exports.open(EXPORT_BYTES_PER_ORGANIZATION_MAX=2 * 1024**2)
    export = await asked(desk)
    await worker.run_next()
    failed = await read(exports, export.id)
    assert failed.status is ExportStatus.FAILED
    assert failed.error is not None
    assert "more than 2 MiB" in failed.error
    await worker.purge()
    small = await asked(desk, sensor_types=["nothing"])
    await worker.run_next()
    assert (await read(exports, small.id)).status is ExportStatus.FINISHED
    assert await values_of(desk, small.id) == []


async def test_an_organization_has_so_many_exports_and_they_expire(exports: Exports) -> None:
    desk, worker = exports.open(EXPORTS_PER_ORGANIZATION_MAX=2)
    first = await asked(desk)
    await asked(desk)
    with pytest.raises(TooManyRequests, match="has 2 exports"):
        await asked(desk)
    while await worker.run_next():
        pass
    exports.clock.advance(24 * 3600 + 1)
    await worker.purge()
    assert await kept(exports, Attempt(first.id, 1)) == 0
    await asked(desk)


async def test_a_store_that_is_away_delays_an_export(exports: Exports) -> None:
    desk, worker = exports.open()
    export = await asked(desk)
    exports.store.is_away = True
    assert await worker.run_next()
    assert (await read(exports, export.id)).status is ExportStatus.PENDING
    exports.store.is_away = False
    assert not await worker.run_next()
    exports.clock.advance(61)
    assert await worker.run_next()
    assert (await read(exports, export.id)).status is ExportStatus.FINISHED


async def test_a_full_disk_delays_an_export_and_refuses_a_workbook(
    exports: Exports, tmp_path: Path
) -> None:
    with small_disk(tmp_path, size_bytes=16 << 20) as disk:
        exports.directory = disk.path / "exports"
        desk, worker = exports.open()
        exports.directory.mkdir()
        disk.fill()
        some = {"format": "xlsx", "end": "2026-11-21T12:20:00Z"}
        sending = await desk.ask(OWNER, ExportCreate.model_validate(some), at_once=True)
        assert isinstance(sending, service.Sending)
        with pytest.raises(Busy) as refused:
            await anext(sending.pieces)
        assert refused.value.code == "disk_full"
        export = await asked(desk, **some)
        assert await worker.run_next()
        assert (await read(exports, export.id)).status is ExportStatus.PENDING

        disk.relieve()
        exports.clock.advance(61)
        assert await worker.run_next()
        assert (await read(exports, export.id)).readings == 1_200
        work = exports.directory / "work"
        await wait_until(lambda: not any(work.iterdir()))


async def test_closing_a_file_that_is_sent_ends_its_query(exports: Exports) -> None:
    desk, _ = exports.open(EXPORT_STREAMS_MAX=1)
    form = ExportCreate.model_validate({"format": "csv"})
    sending = await desk.ask(OWNER, form, at_once=True)
    assert isinstance(sending, service.Sending)
    async with aclosing(sending.pieces) as pieces:
        await anext(pieces)
        with pytest.raises(Busy, match="under way"):
            await desk.ask(OWNER, form, at_once=True)
        await anext(pieces)
        assert exports.store.streams_ended == 0
    assert exports.store.streams_ended == 1
    assert isinstance(await desk.ask(OWNER, form, at_once=True), service.Sending)


async def test_more_than_is_sent_at_once_becomes_a_job(exports: Exports) -> None:
    desk, _ = exports.open(EXPORT_STREAM_READINGS_MAX=READINGS - 1)
    form = ExportCreate.model_validate({"format": "csv"})
    assert isinstance(await desk.ask(OWNER, form, at_once=True), ExportRead)
    desk, _ = exports.open(EXPORT_STREAM_READINGS_MAX=READINGS)
    assert isinstance(await desk.ask(OWNER, form, at_once=True), service.Sending)
