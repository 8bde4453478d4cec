"""The job that seals: until nothing is due or its time is over, and it says how much."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.jobs import SEAL_RUN_S, Sealing
from tests.contracts.reading_databases import ReadingDatabase, reading_database
from tests.contracts.readings import HOUR_US, NOON_US, Given, append, make_series
from tests.contracts.seals import SMALL_SLICES, in_chunks, sealed_counts
from tests.contracts.store_insides import failing_write

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[ReadingDatabase]:
    async with reading_database(f"sqlite:///{tmp_path / 'telemetry.db'}") as database:
        database.seal_limits = SMALL_SLICES
        store = await database.shared("node-a")
        (series,) = await make_series(store, 1)
        await append(store, [Given(series.id, NOON_US + at * HOUR_US, 1.5) for at in range(30)])
        await store.flush()
        yield database


async def test_one_run_seals_everything_that_is_due_and_says_so(database: ReadingDatabase) -> None:
    sealing = Sealing(await database.shared("node-a"), database.clock)

    with capture_logs() as logs:
        await sealing.run()
        await sealing.run()

    assert await in_chunks(database) == 0
    assert sealing.readings == 30
    assert [(log["event"], log["readings"], log["slices"]) for log in logs] == [
        ("readings_sealed", 30, 10)
    ]


async def test_a_run_ends_when_its_time_is_over_and_the_next_goes_on(
    database: ReadingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await database.shared("node-a")
    seal_slice = store.seal_slice

    async def slow_slice() -> int:
        sealed = await seal_slice()
        database.clock.advance(SEAL_RUN_S)
        return sealed

    monkeypatch.setattr(store, "seal_slice", slow_slice)
    sealing = Sealing(store, database.clock)

    await sealing.run()
    assert sealing.readings == 3
    await sealing.run()
    assert sealing.readings == 6
    assert await in_chunks(database) == 24


async def test_a_run_that_fails_counts_what_was_sealed_before(database: ReadingDatabase) -> None:
    store = await database.shared("node-a")
    sealing = Sealing(store, database.clock)

    with failing_write(store, 2), pytest.raises(Busy):
        await sealing.run()

    assert sealing.readings == sum(await sealed_counts(database)) == 6
