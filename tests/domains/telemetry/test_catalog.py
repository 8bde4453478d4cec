"""Series in memory: bounded, read again when needed, forgotten when deleted."""

from pathlib import Path

import pytest

from fieldstation.domains.telemetry.catalog import VARIANTS_MAX, Catalog, Series
from fieldstation.domains.telemetry.ports import SeriesKey, Variant
from tests.domains.telemetry.pipeline import ORGANIZATION, pipeline

pytestmark = pytest.mark.anyio


async def test_a_device_that_was_dropped_is_read_again(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        for n in range(4):
            await running.take({"sensor_type": "t", "value": 1, "unit": "V"}, device=f"d{n}")
        catalog = Catalog(running.store, devices_max=2)
        for n in range(4):
            loaded = await catalog.load(ORGANIZATION, f"d{n}")
            assert set(loaded.by_key) == {("t", "t")}
        assert catalog.cached("d0") is None
        assert catalog.cached("d3") is not None
        again = (await catalog.load(ORGANIZATION, "d0")).by_key[("t", "t")]
        known = (await running.catalog.load(ORGANIZATION, "d0")).by_key[("t", "t")]
        assert (again.id, again.variants) == (known.id, known.variants)
        assert again.last_us >= known.last_us


async def test_the_device_that_was_used_last_stays(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        catalog = Catalog(running.store, devices_max=2)
        for name in ("a", "b", "a", "c"):
            await catalog.load(ORGANIZATION, name)
        assert [name for name in "abc" if catalog.cached(name)] == ["a", "c"]


async def test_a_forgotten_device_starts_anew(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        await running.take({"sensor_type": "t", "value": 1})
        first = await running.catalog.load(ORGANIZATION, "device")
        running.catalog.forget("device")
        running.catalog.forget("device")
        assert await running.catalog.load(ORGANIZATION, "device") is not first


async def test_a_series_has_at_most_so_many_labels() -> None:
    series = Series(SeriesKey("o", "d", "t", "t"))
    labels = [Variant(f"u{n}", None, "http") for n in range(VARIANTS_MAX + 1)]
    assert [series.admits(label) for label in labels] == [True] * VARIANTS_MAX + [False]
    assert series.admits(labels[0])
