"""Checks of the readings count them and say what each takes on disk."""

from pathlib import Path

import pytest

from fieldstation.adapters.diagnosis.readings import check_readings, read_totals
from fieldstation.adapters.diagnosis.report import Verdict
from fieldstation.core.clock import SystemClock
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.adapters.sqlite_backup.stations import make_station
from tests.contracts.readings import NOON_US, Given, append, make_series


@pytest.mark.anyio
async def test_bytes_of_each_reading_are_told_beside_the_station_that_writes(
    tmp_path: Path,
) -> None:
    path = make_station(tmp_path / "data", "mark").telemetry_db
    writing = SqliteReadingStore(path, node_id="node", clock=SystemClock())
    await writing.open()

    def looking() -> SqliteReadingStore:
        return SqliteReadingStore(path, node_id="doctor", clock=SystemClock())

    assert check_readings(await read_totals(looking())).detail == "None yet"

    (series,) = await make_series(writing, 1)
    await append(writing, [Given(series.id, NOON_US + at) for at in range(1000)])
    found = check_readings(await read_totals(looking()))

    assert found.verdict is Verdict.OK
    size = (await writing.totals()).bytes_on_disk / 1_000
    assert found.detail == f"1,000 in 1 series, {size:.1f} bytes on disk for each"
    await writing.close()


@pytest.mark.anyio
async def test_store_that_is_away_is_a_warning(tmp_path: Path) -> None:
    away = SqliteReadingStore(tmp_path / "none.db", node_id="doctor", clock=SystemClock())

    found = check_readings(await read_totals(away))

    assert found.verdict is Verdict.WARNING
    assert not (tmp_path / "none.db").exists()
