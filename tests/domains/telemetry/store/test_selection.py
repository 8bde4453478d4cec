"""The store that fits the settings: where it is, and after how many hours it seals."""

from pathlib import Path

import pytest

from fieldstation.core.settings import SettingsError, read_settings
from fieldstation.domains.telemetry.store.selection import reading_store
from tests.contracts.reading_databases import reading_database
from tests.contracts.readings import HOUR_US, NOON_US, Given, append, make_series


@pytest.mark.anyio
@pytest.mark.parametrize(("hours", "sealed"), [("1", 13), ("6", 13), ("7", 7), ("19", 0)])
async def test_readings_are_sealed_once_they_lie_back_so_many_hours(
    tmp_path: Path, hours: str, sealed: int
) -> None:
    """Hours are sealed six at a time, of which the last has to lie back so far."""
    async with reading_database(f"sqlite:///{tmp_path / 'telemetry.db'}") as database:
        settings = read_settings({"DATA_DIR": str(tmp_path), "SEAL_AFTER_HOURS": hours})
        store = reading_store(settings, node_id="node", clock=database.clock)
        await store.open()
        (series,) = await make_series(store, 1)
        await append(store, [Given(series.id, NOON_US - at * HOUR_US) for at in range(20)])
        await store.flush()
        moved = 0
        while some := await store.seal_slice():
            moved += some
        assert moved == sealed
        await store.close()


@pytest.mark.parametrize("hours", ["0", "-1", "745", "soon"])
def test_an_age_out_of_bounds_is_refused_by_name(hours: str) -> None:
    with pytest.raises(SettingsError, match="SEAL_AFTER_HOURS"):
        read_settings({"SEAL_AFTER_HOURS": hours})
