"""The job deletes what is too old and nothing else, a while at a time, and rarely looks."""

from pathlib import Path
from typing import Any

import pytest

from fieldstation.domains.retention import jobs
from fieldstation.domains.retention.policies import Kept, Policy, cutoffs
from fieldstation.domains.telemetry.ports import SeriesKey, SeriesRow
from fieldstation.domains.telemetry.store.expiry import ExpiryLimits
from tests.contracts.readings import NOON_US
from tests.domains.retention.conftest import AN_HOUR_S, GRACE_S, Field, put

pytestmark = pytest.mark.anyio

SMALL_SLICES = ExpiryLimits(series_per_slice=1, chunks_per_slice=4)
RULE: dict[str, Any] = {"raw_days": 5, "rollup_days": 12}


async def test_what_is_too_old_goes_and_rollups_outlive_it(field: Field, tmp_path: Path) -> None:
    node = field.open(tmp_path)
    ours, theirs = await field.organization("ours"), await field.organization("theirs")
    mine = await field.series(ours, await field.device(ours))
    other = await field.series(theirs, await field.device(theirs))
    await field.fill(mine, other, days=20)
    await put(node, ours, RULE)

    await node.expiry.run()
    assert len(await field.ages(mine)) == 20
    field.clock.advance(GRACE_S)
    await node.expiry.run()

    assert await field.ages(mine) == list(range(6))
    assert await field.buckets(mine) == list(range(13))
    assert await field.ages(other) == await field.buckets(other) == list(range(20))


async def test_each_series_goes_by_its_own_rule(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    lab, roof = await field.device(ours, "lab"), await field.device(ours, "roof")
    group = await field.group(ours, "lab", "lab")
    series = [await field.series(ours, device, of) for device in (lab, roof) for of in "tu"]
    gone = await field.series(ours, "deleted long ago", "t")
    await field.fill(*series, gone, days=20)
    await put(
        node,
        ours,
        {"sensor_type": "t", "group_id": group, "raw_days": 1},
        {"group_id": group, "raw_days": 3},
        {"sensor_type": "t", "raw_days": 7},
    )
    field.clock.advance(GRACE_S)

    await node.expiry.run()

    assert [len(await field.ages(row)) for row in (*series, gone)] == [2, 4, 8, 20, 8]


async def test_a_default_holds_for_everybody_at_once(field: Field, tmp_path: Path) -> None:
    node = field.open(tmp_path, RETENTION_RAW_DAYS="2")
    ours, theirs = await field.organization("ours"), await field.organization("theirs")
    mine, other = [await field.series(who, await field.device(who)) for who in (ours, theirs)]
    await field.fill(mine, other, days=5)
    await put(node, ours, {})
    field.clock.advance(GRACE_S)

    await node.expiry.run()

    assert await field.ages(mine) == [0, 1, 2, 3, 4]
    assert await field.ages(other) == [0, 1, 2]


async def test_between_passes_nothing_is_looked_through(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    mine = await field.series(ours, await field.device(ours))
    await field.fill(mine, days=9)
    await put(node, ours, RULE)
    field.clock.advance(GRACE_S)
    await node.expiry.run()
    listed, slices = field.store.listed, field.store.slices

    for _ in range(int(AN_HOUR_S / jobs.INTERVAL_S) - 1):
        field.clock.advance(jobs.INTERVAL_S)
        await node.expiry.run()
    assert (field.store.listed, field.store.slices) == (listed, slices)
    field.clock.advance(2 * jobs.INTERVAL_S)
    await node.expiry.run()
    assert field.store.listed == listed + 1


async def test_a_day_later_another_day_goes(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    mine = await field.series(ours, await field.device(ours))
    await field.fill(mine, days=9)
    await put(node, ours, RULE)
    field.clock.advance(GRACE_S)
    await node.expiry.run()
    assert await field.ages(mine) == list(range(6))

    field.clock.advance(86_400)
    await node.expiry.run()

    assert await field.ages(mine) == list(range(5))


async def test_a_run_ends_when_its_time_is_over_and_the_next_goes_on(
    field: Field, tmp_path: Path
) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    mine = [await field.series(ours, await field.device(ours)) for _ in range(4)]
    await field.fill(*mine, days=9)
    await put(node, ours, {"sensor_type": "t", "raw_days": 1})
    field.clock.advance(GRACE_S)
    field.store.slice_s = jobs.RUN_S
    field.store.expiry_limits = SMALL_SLICES

    listed, runs = field.store.listed, 0
    while any([len(await field.ages(row)) > 2 for row in mine]):
        slices = field.store.slices
        await node.expiry.run()
        assert field.store.slices == slices + 1
        runs += 1
        assert runs < 50
    assert runs >= 4
    assert field.store.listed == listed + 1


async def test_whoever_has_much_to_delete_lets_others_have_their_turn(
    field: Field, tmp_path: Path
) -> None:
    node = field.open(tmp_path)
    many, few = await field.organization("many"), await field.organization("few")
    device = await field.device(many)
    mine = [await field.series(many, device, f"t{number}") for number in range(6)]
    other = await field.series(few, await field.device(few))
    await field.fill(*mine, other, days=9)
    for caller in (many, few):
        await put(node, caller, {"raw_days": 1})
    field.clock.advance(GRACE_S)
    field.store.slice_s = jobs.RUN_S
    field.store.expiry_limits = SMALL_SLICES

    runs = 0
    while len(await field.ages(other)) > 2:
        await node.expiry.run()
        runs += 1
    assert runs <= 4
    assert any([len(await field.ages(row)) > 2 for row in mine])
    for _ in range(20):
        await node.expiry.run()
    assert [len(await field.ages(row)) for row in (*mine, other)] == [2] * 7


async def test_a_longer_rule_stops_what_is_under_way(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    mine = [await field.series(ours, await field.device(ours)) for _ in range(4)]
    await field.fill(*mine, days=9)
    await put(node, ours, {"raw_days": 1})
    field.clock.advance(GRACE_S)
    field.store.slice_s = jobs.RUN_S
    field.store.expiry_limits = SMALL_SLICES
    await node.expiry.run()
    left = [len(await field.ages(row)) for row in mine]
    assert 8 < sum(left) < 36

    await put(node, ours, {"raw_days": 300})
    for _ in range(5):
        field.clock.advance(jobs.INTERVAL_S)
        await node.expiry.run()

    assert [len(await field.ages(row)) for row in mine] == left


def test_series_of_which_the_same_is_too_old_go_together() -> None:
    policy = Policy(1, None, (), {}, Kept(3, 30))
    series = [SeriesRow(at, SeriesKey("o", "d", "t", str(at)), ()) for at in range(2_500)]

    work = jobs.sort_work(policy, series, NOON_US)

    assert [len(ids) for _, ids in work] == [1_000, 1_000, 500]
    assert {before for before, _ in work} == {cutoffs(Kept(3, 30), NOON_US)}
    assert [one for _, ids in work for one in ids] == list(range(2_500))
    assert not jobs.sort_work(Policy(1, None, (), {}, Kept(None, None)), series, NOON_US)
