"""Whatever happened before, rollups answer like a recomputation from the readings, on every store,
and from the readings that were there once retention has deleted them.

Sums are compared within 1e-9 of themselves: rollups add the same doubles up in another order, an
hour at a time, which changes their last digits and nothing else.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.ports import Order, Outcome, SeriesRow
from fieldstation.domains.telemetry.store.rollups import RollupLimits
from fieldstation.domains.telemetry.summaries import SeriesStats
from tests.contracts.expiries import SMALL_EXPIRIES, expire, floors_in
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    DAY_US,
    FOREVER,
    HOUR_US,
    Given,
    append,
    make_series,
    rows_of,
)
from tests.contracts.seals import SMALL_SLICES, demand_sealed_apart, seal_all
from tests.contracts.store_insides import failing_write, rows_in, stored_in
from tests.contracts.test_reading_store_aggregates import buckets_by_hand, close_to, stats_by_hand

pytestmark = pytest.mark.anyio

DEVICES, SERIES = 2, 2
MIDNIGHT_US = 20_800 * DAY_US
KINDS = [*["append"] * 3, *["flush", "roll", "expire"] * 2]
KINDS += ["seal", "crash", "expire and crash", "restart", "delete"]
ROLLED_UP = "SELECT COALESCE(MAX(amount), 0) FROM tally WHERE name = 'rolled_up_before'"
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
    """What happens next; ``rolls`` is how many slices a job does, ``hours`` up to when.

    Rollups go so many days before readings do, if they do.
    """

    kind: Literal[
        "append",
        "flush",
        "seal",
        "roll",
        "crash",
        "expire",
        "expire and crash",
        "restart",
        "delete",
    ]
    rows: list[Placed]
    device: int
    rolls: int
    hours: int
    happens: bool
    other_node: bool
    rollups_days: int | None


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
    st.sampled_from([None, 0, 1, 31]),
)
periods = st.tuples(instants, instants).map(sorted)


@dataclass
class World:
    """What should stand, and where: the readings, and those of before the floors of their series
    that rollups know."""

    names: list[str]
    series: list[list[SeriesRow]]
    stands: dict[tuple[int, int], Given] = field(default_factory=dict)
    known: dict[tuple[int, int], Given] = field(default_factory=dict)
    floors: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    rolled_up_us: int = 0

    def place(self, row: Placed) -> Given:
        series_id = self.series[row.device][row.series].id
        return Given(series_id, row.ts_us, 0.0 if row.text else row.value, row.text)

    async def append(self, store: ReadingStoreUnderTest, placed: Sequence[Placed]) -> None:
        rows = [self.place(row) for row in placed]
        outcomes = bytearray()
        for row in rows:
            key = row.series_id, row.ts_us
            first = self.stands.setdefault(key, row)
            same = Outcome.DUPLICATE if first == row else Outcome.CONFLICT
            outcomes.append(Outcome.ACCEPTED if first is row else same)
        assert (await append(store, rows) or bytes(len(rows))) == outcomes

    async def delete(self, store: ReadingStoreUnderTest, device: int) -> None:
        """Delete a device and give it new series."""
        await store.delete_device("org", self.names[device])
        gone = {row.id for row in self.series[device]}
        self.stands = {key: row for key, row in self.stands.items() if key[0] not in gone}
        self.known = {key: row for key, row in self.known.items() if key[0] not in gone}
        self.series[device] = await make_series(store, SERIES, device_id=self.names[device])

    async def expired(self, database: ReadingDatabase, rollups_before_us: int) -> None:
        """Take over what went: readings of before the floors, which rollups go on telling until
        they go themselves."""
        floors = await floors_in(database)
        days = set(await rows_in(database, "SELECT series_id, number FROM rollup WHERE hours = 1"))
        ids = {row.id for own in self.series for row in own}
        present = {row[:2] for row in await stored_in(database) if row.series_id in ids}
        assert present <= set(self.stands)
        assert all(ts_us < floors[one] for one, ts_us in set(self.stands) - present)
        for (one, ts_us), row in self.stands.items():
            if self.floors[one] <= ts_us < floors[one]:
                self.known[one, ts_us] = row
        for one, ts_us in [*self.known]:
            if (one, ts_us // DAY_US) not in days:
                assert ts_us < min(rollups_before_us, floors[one])
                del self.known[one, ts_us]
        self.stands = {key: row for key, row in self.stands.items() if key in present}
        for one in ids:
            assert floors[one] >= self.floors[one]
            assert floors[one] % DAY_US == 0
            self.floors[one] = floors[one]

    def told(self, start_us: int, end_us: int, width_us: int) -> list[Given]:
        """Return what a question answers from that takes rollups of a width, if any is whole."""
        first, behind = -(-start_us // width_us), min(end_us, self.rolled_up_us) // width_us
        within = [row for row in self.stands.values() if start_us <= row.ts_us < end_us]
        if first >= behind:
            return within
        kept = [row for row in within if row.ts_us >= self.floors[row.series_id]]
        whole = (first * width_us, end_us // width_us * width_us)
        return kept + [row for row in self.known.values() if whole[0] <= row.ts_us < whole[1]]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    history=st.lists(steps, max_size=14), period=periods, few_max=st.sampled_from([0, 4, 20_000])
)
async def test_rollups_answer_like_a_recomputation(
    database: ReadingDatabase, history: list[Step], period: list[int], few_max: int
) -> None:
    database.rollup_limits = RollupLimits(days_per_slice=2, exact_readings_max=few_max)
    database.seal_limits = SMALL_SLICES
    database.expiry_limits = SMALL_EXPIRIES
    nodes = ["node-a", "node-b" if database.kind == "postgresql" else "node-a"]
    one = await database.shared(nodes[0])
    await database.shared(nodes[1])
    for node in nodes:
        (await database.shared(node)).rollup_limits = database.rollup_limits
    names = [database.new_name() for _ in range(DEVICES)]
    world = World(names, [await make_series(one, SERIES, device_id=name) for name in names])
    for step in history:
        await take(database, nodes[step.other_node], world, step)
        ((rolled_up,),) = await rows_in(database, ROLLED_UP)
        world.rolled_up_us = rolled_up * HOUR_US
        await compare(await database.shared(nodes[step.other_node]), world, *period)
    for node in nodes:
        await compare(await database.shared(node), world, **FOREVER)
    await demand_sealed_apart(database)
    # At last nothing is left to wait for.
    await one_more_expiry(database, nodes[0], world)


async def take(database: ReadingDatabase, node: str, world: World, step: Step) -> None:
    store = await database.shared(node)
    match step.kind:
        case "append":
            await world.append(store, step.rows)
        case "expire" | "expire and crash":
            await expires(database, node, world, step)
        case "delete":
            await world.delete(store, step.device)
        case "restart":
            await database.restart(node)
        case _:
            await move(database, node, step)


async def move(database: ReadingDatabase, node: str, step: Step) -> None:
    """Do what changes no answer."""
    store = await database.shared(node)
    before_us = MIDNIGHT_US + step.hours * HOUR_US
    if step.kind == "flush":
        await store.flush()
    elif step.kind == "seal":
        await seal_all(store)
    elif step.kind == "roll":
        for _ in range(step.rolls):
            await store.roll_up(before_us=before_us)
    elif not await rolls_up(store, before_us, step):
        await database.restart(node)


async def expires(database: ReadingDatabase, node: str, world: World, step: Step) -> None:
    """Delete, to the end if no write is to fail."""
    store = await database.shared(node)
    raw_before_us = MIDNIGHT_US + step.hours * HOUR_US
    days = step.rollups_days
    rollups_before_us = None if days is None else raw_before_us - days * DAY_US
    # A device that was deleted, and given new series, changes nothing.
    series = [row for own in world.series for row in own]
    failing = failing_write(store, step.rolls - 1, happens=step.happens)
    with failing if step.kind == "expire and crash" else nullcontext():
        try:
            await expire(store, series, raw_before_us, rollups_before_us)
        except Busy:
            await database.restart(node)
            await world.expired(database, rollups_before_us or 0)
            await compare(await database.shared(node), world, **FOREVER)
            await expire(await database.shared(node), series, raw_before_us, rollups_before_us)
    await world.expired(database, rollups_before_us or 0)
    if rollups_before_us is not None:
        day_us = rollups_before_us // DAY_US * DAY_US
        assert all(ts_us >= min(day_us, world.floors[one]) for one, ts_us in world.known)


async def one_more_expiry(database: ReadingDatabase, node: str, world: World) -> None:
    store = await database.shared(node)
    before_us = MIDNIGHT_US + 40 * DAY_US
    await store.flush()
    while await store.roll_up(before_us=before_us):
        pass
    world.rolled_up_us = before_us
    series = [row for own in world.series for row in own]
    await compare(store, world, **FOREVER)
    await expire(store, series, before_us)
    await world.expired(database, 0)
    assert world.stands == {}
    await compare(store, world, **FOREVER)


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
    page = await store.page(
        series, start_us=start_us, end_us=end_us, order=Order.OLDEST_FIRST, limit=1_000
    )
    within = [row for row in world.stands.values() if start_us <= row.ts_us < end_us]
    assert rows_of(page) == sorted(within, key=lambda row: (row.ts_us, row.series_id))
    for interval_us in INTERVALS:
        found = await store.buckets(
            series, start_us=start_us, end_us=end_us, interval_us=interval_us
        )
        rows = world.told(start_us, end_us, HOUR_US) if interval_us % HOUR_US == 0 else within
        expected = buckets_by_hand(rows, interval_us)
        assert len(found) == len(expected)
        assert all(map(close_to, found, expected))
    stats = await store.stats(series, start_us=start_us, end_us=end_us)
    rows = world.told(start_us, end_us, DAY_US)
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
