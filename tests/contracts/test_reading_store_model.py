"""Any history of appends leaves every store as a plain dict says it should be."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstation.domains.telemetry.ports import Order, Outcome, SeriesRow
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    FOREVER,
    HOUR_US,
    NOON_US,
    Given,
    append,
    everything,
    make_series,
    rows_of,
)
from tests.contracts.seals import SMALL_SLICES, demand_sealed_apart, seal_all
from tests.contracts.store_insides import stored_in
from tests.contracts.test_reading_store_aggregates import (
    buckets_by_hand,
    close_to,
    stats_by_hand,
)
from tests.stored_readings import Stored

pytestmark = pytest.mark.anyio

SERIES = 3

# Few instants and values, so that keys meet; some far apart, so that windows and hours are crossed.
instants = st.sampled_from([0, 1, 59_999_999, 60_000_000, HOUR_US, 90 * HOUR_US, -400 * HOUR_US])
values = st.sampled_from([0.0, 1 / 3, 1e100, -2.5])
texts = st.sampled_from([None, None, None, "open", "closed"])


def make_reading(series: int, instant: int, value: float, text: str | None) -> Given:
    return Given(series, NOON_US + instant, value if text is None else 0.0, text)


readings = st.builds(make_reading, st.integers(0, SERIES - 1), instants, values, texts)


class Step(NamedTuple):
    """What is appended, by which node, and what follows it there."""

    rows: list[Given]
    other_node: bool
    flushes: bool
    seals: bool
    deletes: bool
    restarts: bool


appended = st.lists(readings, max_size=12)
seldom = st.sampled_from([False, False, False, False, True])
histories = st.lists(
    st.builds(Step, appended, *[st.booleans()] * 3, st.just(False), st.just(False)), max_size=8
)
histories_with_restarts = st.lists(
    st.builds(Step, appended, *[st.booleans()] * 3, seldom, st.booleans()), max_size=8
)


@dataclass
class Model:
    """What should stand, and what the log should hold."""

    stands: dict[tuple[int, int], Given] = field(default_factory=dict)
    logged: list[Given] = field(default_factory=list)

    def append(self, rows: Sequence[Given]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for row in rows:
            first = self.stands.setdefault((row.series_id, row.ts_us), row)
            if first is row:
                self.logged.append(row)
                outcomes.append(Outcome.ACCEPTED)
            else:
                outcomes.append(Outcome.DUPLICATE if first == row else Outcome.CONFLICT)
        return outcomes


settled = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settled
@given(history=histories)
async def test_any_history_of_appends_equals_a_dict(
    database: ReadingDatabase, history: list[Step]
) -> None:
    await follow(database, history)


@settled
@given(history=histories_with_restarts)
async def test_any_history_of_appends_deletions_and_restarts_equals_a_dict(
    database: ReadingDatabase, history: list[Step]
) -> None:
    await follow(database, history)


async def follow(database: ReadingDatabase, history: Sequence[Step]) -> None:
    """Take the steps on two nodes and on the model, and compare in the end."""
    database.seal_limits = SMALL_SLICES
    # One SQLite file has one writer; on PostgreSQL two nodes take turns.
    names = ["node-a", "node-b" if database.kind == "postgresql" else "node-a"]
    one, _ = [await database.shared(name) for name in names]
    # Every example works on a device of its own in the one database.
    device = database.new_name()
    series = await make_series(one, SERIES, device_id=device)
    before = {node: bounds[1] for node, bounds in (await one.log_bounds()).items()}
    model = Model()

    for step in history:
        store = await database.shared(names[step.other_node])
        placed = [row._replace(series_id=series[row.series_id].id) for row in step.rows]
        outcomes = await append(store, placed)
        assert list(outcomes or bytes(len(placed))) == model.append(placed)
        if step.flushes:
            await store.flush()
        if step.seals:
            await seal_all(store)
        if step.deletes:
            await store.delete_device("org", device)
            series = await make_series(store, SERIES, device_id=device)
            model.stands.clear()
        if step.restarts:
            await database.restart(names[step.other_node])

    for name in names:
        await compare(await database.shared(name), series, model)
    await demand_sealed_apart(database)
    expected = sorted(Stored(row.series_id, row.ts_us, row.value) for row in model.stands.values())
    assert [
        row for row in await stored_in(database) if row[0] in {s.id for s in series}
    ] == expected
    logged = [
        row
        for batch in await (await database.shared("node-a")).batches_after(before, batches_max=100)
        for row in rows_of(batch.readings)
    ]
    assert sorted(logged, key=str) == sorted(model.logged, key=str)


async def compare(store: ReadingStoreUnderTest, series: Sequence[SeriesRow], model: Model) -> None:
    rows = sorted(model.stands.values(), key=lambda row: (row.ts_us, row.series_id))
    assert await everything(store, series) == rows
    newest = await store.page(series, **FOREVER, order=Order.NEWEST_FIRST, limit=5)
    assert rows_of(newest) == rows[::-1][:5]
    blocks = [rows_of(block) async for block in store.stream(series, **FOREVER, rows_max=4)]
    assert [row for block in blocks for row in block] == rows
    buckets = await store.buckets(series, **FOREVER, interval_us=HOUR_US)
    expected = buckets_by_hand(rows, HOUR_US)
    assert len(buckets) == len(expected)
    assert all(map(close_to, buckets, expected))
    for one in await store.stats(series, **FOREVER):
        own = [row for row in rows if row.series_id == one.series_id]
        assert close_to(one, stats_by_hand(own))
