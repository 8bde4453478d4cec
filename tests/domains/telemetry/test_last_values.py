"""The newest reading of every series is known at once, and again after a crash."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstation.core.clock import instant_to_us
from fieldstation.domains.telemetry.last_values import LastValues
from fieldstation.domains.telemetry.rendering import encode
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.domains.telemetry.pipeline import ORGANIZATION, START, Pipeline, pipeline

pytestmark = pytest.mark.anyio

NOW_US = instant_to_us(START)
READINGS = st.lists(
    st.fixed_dictionaries(
        {
            "sensor_type": st.sampled_from(["a", "b"]),
            "value": st.one_of(st.integers(0, 5), st.booleans(), st.sampled_from(["x", ""])),
            "timestamp": st.integers(NOW_US, NOW_US + 6),
            "unit": st.sampled_from([None, "V"]),
            "metadata": st.sampled_from([None, {"n": 1}]),
        }
    ),
    min_size=1,
    max_size=5,
)


def shown(last_values: LastValues) -> list[dict[str, Any]]:
    found = last_values.of_organization(ORGANIZATION)
    return sorted(
        (
            {
                "id": r.id,
                "value": r.value,
                "unit": r.unit,
                "score": r.anomaly_score,
                "metadata": None if r.metadata is None else bytes(r.metadata),
            }
            for r in (newest.rendered() for newest in found)
        ),
        key=lambda reading: reading["id"],
    )


def encoded(last_values: LastValues) -> list[bytes]:
    return [last_values.encoded(n) for n in last_values.of_organization(ORGANIZATION)]


def in_full(last_values: LastValues) -> list[bytes]:
    return [encode(n.rendered()) for n in last_values.of_organization(ORGANIZATION)]


def learning(running: Pipeline) -> LastValues:
    last_values = LastValues(running.store, node_id="node")
    running.writer.consumers.append(last_values.learn)
    return last_values


async def after_a_crash(running: Pipeline, tmp_path: Path) -> LastValues:
    """Rebuild from the files as a new process would."""
    store = SqliteReadingStore(tmp_path / "telemetry.db", node_id="node", clock=running.clock)
    await store.open()
    try:
        rebuilt = LastValues(store, node_id="node")
        await rebuilt.rebuild()
        return rebuilt
    finally:
        await store.close()


@given(batches=st.lists(st.tuples(READINGS, st.booleans()), max_size=6))
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_a_crash_at_any_time_loses_no_last_value(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[list[dict[str, Any]], bool]]
) -> None:
    tmp_path = tmp_path_factory.mktemp("crash")
    async with pipeline(tmp_path) as running:
        last_values = learning(running)
        for readings, flushes in batches:
            await running.take(*readings)
            assert encoded(last_values) == in_full(last_values)
            if flushes:
                await last_values.flush()
        rebuilt = await after_a_crash(running, tmp_path)
        assert shown(rebuilt) == shown(last_values)
        newest = {}
        for readings, _ in batches:
            for reading in readings:
                name = reading["sensor_type"]
                newest[name] = max(newest.get(name, 0), reading["timestamp"])
        found = last_values.of_organization(ORGANIZATION)
        assert {n.key.sensor_type: n.ts_us for n in found} == newest


async def test_metadata_of_a_saved_last_value_survives_a_restart(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        last_values = learning(running)
        await running.take({"sensor_type": "t", "value": "open", "metadata": {"door": 4}})
        await last_values.flush()
        assert shown(await after_a_crash(running, tmp_path)) == shown(last_values)


async def test_a_late_reading_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        last_values = learning(running)
        await running.take({"sensor_type": "t", "value": 2, "timestamp": NOW_US})
        await running.take({"sensor_type": "t", "value": 1, "timestamp": NOW_US - 1})
        assert [reading["value"] for reading in shown(last_values)] == [2]


async def test_only_what_changed_is_saved(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        last_values = learning(running)
        await running.take({"sensor_type": "a", "value": 1}, {"sensor_type": "b", "value": 1})
        assert await last_values.flush() == 2
        assert await last_values.flush() == 0
        await running.take({"sensor_type": "b", "value": 2})
        assert await last_values.flush() == 1
        assert len(last_values) == 2


async def test_a_deleted_device_is_forgotten(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        last_values = learning(running)
        await running.take({"sensor_type": "t", "value": 1})
        last_values.forget("device")
        last_values.forget("nothing")
        assert shown(last_values) == []
        assert last_values.of_device("device") == []
        assert await last_values.flush() == 0


async def test_what_was_shown_is_kept_as_json_within_a_limit(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        last_values = LastValues(running.store, node_id="node", encoded_bytes_max=1_000)
        running.writer.consumers.append(last_values.learn)
        await running.take(*({"sensor_type": f"t{n}", "value": n} for n in range(8)))
        assert last_values.encoded_bytes == 0
        sizes = [len(reading) for reading in in_full(last_values)]
        assert sum(sizes) > 1_000
        for _ in range(2):
            assert encoded(last_values) == in_full(last_values)
            assert 1_000 - max(sizes) < last_values.encoded_bytes <= 1_000
        await running.take({"sensor_type": "t7", "value": 9})
        assert last_values.encoded_bytes <= 1_000 - min(sizes)
        last_values.forget("device")
        assert last_values.encoded_bytes == 0


async def test_a_reading_larger_than_the_limit_is_shown_and_not_kept(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        last_values = LastValues(running.store, node_id="node", encoded_bytes_max=10)
        running.writer.consumers.append(last_values.learn)
        await running.take({"sensor_type": "t", "value": 1})
        assert encoded(last_values) == in_full(last_values)
        assert last_values.encoded_bytes == 0
