"""Whatever happened before, rollups answer like a recomputation from the readings, on every store.

Sums are compared within 1e-9 of themselves: rollups add the same doubles up in another order, an
hour at a time, which changes their last digits and nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Outcome, SeriesRow
from fieldstation.domains.telemetry.store.rollups import RollupLimits
from fieldstation.domains.telemetry.summaries import SeriesStats
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import DAY_US, FOREVER, HOUR_US, Given, append, make_series
from tests.contracts.store_insides import failing_write
from tests.contracts.test_reading_store_aggregates import buckets_by_hand, close_to, stats_by_hand

pytestmark = pytest.mark.anyio

DEVICES, SERIES = 2, 2
MIDNIGHT_US = 20_800 * DAY_US
KINDS = [*["append"] * 3, *["flush", "roll"] * 2, "crash", "restart", "delete"]
PERCENTILE_SHARE = 0.0100001
INTERVALS = [HOUR_US, 2 * HOUR_US, 5 * HOUR_US, DAY_US, 7 * DAY_US, 90 * 60_000_000]


def instant(day: int, hour: int, beside_us: int) -> int:
    return MIDNIGHT_US + day * DAY_US + hour * HOUR_US + beside_us


# Around the edges of hours, days and blocks of 32 days, near each other so that keys meet.
instants = st.builds(
    instant,
    st.sampled_from([-1, 0, 0, 1, 32]),
    st.sampled_from([0, 0, 1, 23]),
    st.sampled_from([0, 1, 1_800_000_000, HOUR_US - 1]),
)
values = st.sampled_from([0.0, 1 / 3, -2.5, 1e6 + 0.1, 1e-7, -1e100])
texts = st.sampled_from([None, None, None, "open"])


class Placed(NamedTuple):
    """A reading before its series is known."""

    device: int
    series: int
    ts_us: int
    value: float
    text: str | None


class Step(NamedTuple):
    """What happens next; ``rolls`` is how many slices a job does, ``hours`` up to when."""

    kind: Literal["append", "flush", "roll", "crash", "restart", "delete"]
    rows: list[Placed]
    device: int
    rolls: int
    hours: int
    happens: bool
    other_node: bool


readings = st.builds(
    Placed, st.integers(0, DEVICES - 1), st.integers(0, SERIES - 1), instants, values, texts
)
steps = st.builds(
    Step,
    st.sampled_from(KINDS),
    st.lists(readings, max_size=10),
    st.integers(0, DEVICES - 1),
    st.integers(1, 4),
    st.sampled_from([-30, 1, 2, 24, 47, 48, 72, 33 * 24]),
    st.booleans(),
    st.booleans(),
)
periods = st.tuples(instants, instants).map(sorted)


@dataclass
class World:
    """What should stand, and where."""

    names: list[str]
    series: list[list[SeriesRow]]
    stands: dict[tuple[int, int], Given] = field(default_factory=dict)

    def place(self, row: Placed) -> Given:
        series_id = self.series[row.device][row.series].id
        return Given(series_id, row.ts_us, 0.0 if row.text else row.value, row.text)

    async def append(self, store: ReadingStoreUnderTest, placed: Sequence[Placed]) -> None:
        rows = [self.place(row) for row in placed]
        outcomes = bytearray()
        for row in rows:
            first = self.stands.setdefault((row.series_id, row.ts_us), row)
            same = Outcome.DUPLICATE if first == row else Outcome.CONFLICT
            outcomes.append(Outcome.ACCEPTED if first is row else same)
        assert (await append(store, rows) or bytes(len(rows))) == outcomes

    async def delete(self, store: ReadingStoreUnderTest, device: int) -> None:
        """Delete a device and give it new series."""
        await store.delete_device("org", self.names[device])
        gone = {row.id for row in self.series[device]}
        self.stands = {key: row for key, row in self.stands.items() if key[0] not in gone}
        self.series[device] = await make_series(store, SERIES, device_id=self.names[device])


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(steps, max_size=14), period=periods)
async def test_rollups_answer_like_a_recomputation(
    database: ReadingDatabase, history: list[Step], period: list[int]
) -> None:
    database.rollup_limits = RollupLimits(days_per_slice=2, exact_readings_max=0)
    nodes = ["node-a", "node-b" if database.kind == "postgresql" else "node-a"]
    one = await database.shared(nodes[0])
    await database.shared(nodes[1])
    names = [database.new_name() for _ in range(DEVICES)]
    world = World(names, [await make_series(one, SERIES, device_id=name) for name in names])
    for step in history:
        await take(database, nodes[step.other_node], world, step)
        await compare(await database.shared(nodes[step.other_node]), world, *period)
    for node in nodes:
        await compare(await database.shared(node), world, **FOREVER)


async def take(database: ReadingDatabase, node: str, world: World, step: Step) -> None:
    store = await database.shared(node)
    before_us = MIDNIGHT_US + step.hours * HOUR_US
    match step.kind:
        case "append":
            await world.append(store, step.rows)
        case "flush":
            await store.flush()
        case "roll":
            for _ in range(step.rolls):
                await store.roll_up(before_us=before_us)
        case "crash":
            if not await rolls_up(store, before_us, step):
                await database.restart(node)
        case "delete":
            await world.delete(store, step.device)
        case _:
            await database.restart(node)


async def rolls_up(store: ReadingStoreUnderTest, before_us: int, step: Step) -> bool:
    """Roll up with one write failing; tell whether there were not so many."""
    with failing_write(store, step.rolls - 1, happens=step.happens):
        try:
            while await store.roll_up(before_us=before_us):
                pass
        except Busy:
            return False
    return True


async def compare(store: ReadingStoreUnderTest, world: World, start_us: int, end_us: int) -> None:
    series = [row for own in world.series for row in own]
    rows = [row for row in world.stands.values() if start_us <= row.ts_us < end_us]
    for interval_us in INTERVALS:
        found = await store.buckets(
            series, start_us=start_us, end_us=end_us, interval_us=interval_us
        )
        expected = buckets_by_hand(rows, interval_us)
        assert len(found) == len(expected)
        assert all(map(close_to, found, expected))
    stats = await store.stats(series, start_us=start_us, end_us=end_us)
    numeric = {row.series_id for row in rows if row.text is None}
    assert [one.series_id for one in stats] == sorted(numeric)
    for one in stats:
        own = [row for row in rows if row.series_id == one.series_id]
        assert_near(one, stats_by_hand(own), own)


def assert_near(found: SeriesStats, expected: SeriesStats, rows: Sequence[Given]) -> None:
    """Compare percentiles within one percent of the values around them, the rest as usual."""
    ordered = sorted(row.value for row in rows if row.text is None)
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        place = share * (len(ordered) - 1)
        around = ordered[math.floor(place)], ordered[math.ceil(place)]
        slack = PERCENTILE_SHARE * max(map(abs, around))
        assert abs(getattr(found, name) - getattr(expected, name)) <= slack
    for name in set(SeriesStats.__slots__) - {"p50", "p95"}:
        wanted = getattr(expected, name)
        assert math.isclose(getattr(found, name), wanted, rel_tol=1e-9, abs_tol=1e-9), name
