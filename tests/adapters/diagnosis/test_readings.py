"""Checks of the readings count them and say what each takes on disk, in which form."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fieldstation.adapters.diagnosis.readings import check_readings, look_into
from fieldstation.adapters.diagnosis.report import Verdict
from fieldstation.core.clock import SystemClock
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.adapters.sqlite_backup.stations import make_station
from tests.contracts.readings import HOUR_US, NOON_US, Given, append, make_series
from tests.contracts.seals import AT_ONCE, seal_all

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_station(tmp_path / "data", "mark").telemetry_db


@pytest.fixture
async def writing(path: Path) -> AsyncIterator[SqliteReadingStore]:
    store = SqliteReadingStore(path, node_id="node", clock=SystemClock())
    store.seal_limits = AT_ONCE
    await store.open()
    yield store
    await store.close()


def looking(path: Path) -> SqliteReadingStore:
    return SqliteReadingStore(path, node_id="doctor", clock=SystemClock())


async def test_forms_of_readings_are_told_apart_beside_the_station_that_writes(
    writing: SqliteReadingStore, path: Path
) -> None:
    (found,) = check_readings(await look_into(looking(path)))
    assert found.detail == "None yet"

    (series,) = await make_series(writing, 1)

    async def add(count: int, hour: int) -> None:
        since_us = NOON_US + hour * HOUR_US
        await append(writing, [Given(series.id, since_us + at, 0.5) for at in range(count)])

    await add(600, hour=0)
    await writing.flush()
    assert await seal_all(writing) == 600
    await add(300, hour=1)
    await writing.flush()
    await add(100, hour=2)
    whole, sealed, hot, rollups = check_readings(await look_into(looking(path)))

    totals, sizes = await writing.totals(), await writing.sizes()
    size = totals.bytes_on_disk / 1_000
    assert whole.detail == f"1,000 in 1 series, {size:,.1f} bytes on disk for each"
    assert sealed.detail == f"60.0% of all, {sizes.sealed_bytes / 600:.2f} bytes for each"
    assert hot.detail.startswith("40.0% of all, 12.0")
    assert hot.detail.endswith("bytes for each in chunks; 100 still in the log")
    assert rollups.detail == "0 bytes, 0.00 bytes for each"
    assert {check.verdict for check in (whole, sealed, hot, rollups)} == {Verdict.OK}


async def test_a_measurement_that_takes_too_long_is_left_out(
    writing: SqliteReadingStore, path: Path
) -> None:
    (series,) = await make_series(writing, 1)
    await append(writing, [Given(series.id, NOON_US)])

    (found,) = check_readings(await look_into(looking(path), sizes_timeout_s=0))

    assert found.verdict is Verdict.OK
    assert found.detail.endswith("for each; measuring their forms took too long")


async def test_store_that_is_away_is_a_warning(tmp_path: Path) -> None:
    away = SqliteReadingStore(tmp_path / "none.db", node_id="doctor", clock=SystemClock())

    (found,) = check_readings(await look_into(away))

    assert found.verdict is Verdict.WARNING
    assert not (tmp_path / "none.db").exists()
