"""The queue is bounded, fair and never takes half of what it was offered."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fieldstation.core.clock import instant_to_us
from fieldstation.core.errors import Busy, TooLarge
from fieldstation.core.ids import new_id
from fieldstation.domains.telemetry.catalog import DeviceSeries
from fieldstation.domains.telemetry.intake import DETAILS_PER_GROUP, Heartbeat
from fieldstation.domains.telemetry.payloads import Incoming
from fieldstation.domains.telemetry.ports import Refusal
from tests.domains.telemetry.pipeline import (
    DEVICE,
    ORGANIZATION,
    START,
    Pipeline,
    Receipt,
    incoming,
    pipeline,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def waiting(tmp_path: Path) -> AsyncIterator[Pipeline]:
    """A pipeline whose writer stands still, with room for 100 readings in groups of 20."""
    limits = {"INTAKE_QUEUE_READINGS_MAX": 100, "INTAKE_BATCH_READINGS_MAX": 20}
    async with pipeline(tmp_path, writing=False, **limits) as built:
        yield built


def device(name: str = DEVICE, organization: str = ORGANIZATION) -> DeviceSeries:
    return DeviceSeries(organization, name)


def offer(built: Pipeline, count: int, mine: DeviceSeries) -> int:
    _, taken, _ = built.intake.offer(mine, incoming(*range(count)), protocol="http")
    built.intake.count_for(Receipt())
    return taken


async def test_one_organization_gets_half_of_the_queue(waiting: Pipeline) -> None:
    mine, other = device(), device("other", "neighbour")
    assert offer(waiting, 50, mine) == 50
    with pytest.raises(Busy) as refused:
        offer(waiting, 1, mine)
    assert refused.value.code == "queue_full"
    assert not waiting.intake.has_room(ORGANIZATION)
    assert waiting.intake.has_room("neighbour")
    assert offer(waiting, 50, other) == 50
    assert not waiting.intake.has_room("a third one")
    with pytest.raises(Busy):
        offer(waiting, 1, device("third", "a third one"))
    assert waiting.intake.refused_full == 2
    assert waiting.intake.queued == 100


async def test_what_never_fits_is_not_told_to_come_back(waiting: Pipeline) -> None:
    with pytest.raises(TooLarge) as refused:
        offer(waiting, 51, device())
    assert refused.value.code == "too_many_readings"
    assert waiting.intake.queued == 0


async def test_what_does_not_fit_is_refused_as_a_whole(waiting: Pipeline) -> None:
    mine = device()
    offer(waiting, 40, mine)
    with pytest.raises(Busy):
        offer(waiting, 11, mine)
    assert waiting.intake.queued == 40
    offer(waiting, 10, mine)
    assert waiting.intake.queued == 50


async def test_room_comes_back_when_a_group_is_done_and_wakes_who_waits(waiting: Pipeline) -> None:
    mine, woken = device(), list[str]()
    offer(waiting, 50, mine)
    offer(waiting, 50, device("other", "neighbour"))
    waiting.intake.when_ready(lambda: woken.append("once"))
    waiting.intake.done(await waiting.intake.take())
    assert woken == ["once"]
    assert waiting.intake.has_room(ORGANIZATION)
    waiting.intake.done(await waiting.intake.take())
    assert woken == ["once"]
    assert waiting.intake.queued == 0


async def test_groups_are_bounded_and_keep_their_order(waiting: Pipeline) -> None:
    mine = device()
    for _ in range(5):
        offer(waiting, 9, mine)
    sizes = []
    while waiting.intake.queued:
        group = await waiting.intake.take()
        sizes.append(len(group))
        waiting.intake.done(group)
    assert sizes == [18, 18, 9]


async def test_texts_and_metadata_of_a_group_are_bounded(tmp_path: Path) -> None:
    async with pipeline(tmp_path, writing=False) as built:
        mine = device()
        for text in (True, True, False):
            values = [f"state {at}" if text else at for at in range(DETAILS_PER_GROUP // 2)]
            built.intake.offer(mine, incoming(*values), protocol="http")
            built.intake.count_for(Receipt())
        groups = [await built.intake.take() for _ in range(2)]
    assert [len(group.details) for group in groups] == [DETAILS_PER_GROUP, 0]
    assert [len(group) for group in groups] == [DETAILS_PER_GROUP, DETAILS_PER_GROUP // 2]


async def test_an_offer_larger_than_a_group_is_a_group_of_its_own(waiting: Pipeline) -> None:
    mine = device()
    offer(waiting, 1, mine)
    offer(waiting, 45, mine)
    offer(waiting, 1, mine)
    groups = [await waiting.intake.take() for _ in range(3)]
    assert [len(group) for group in groups] == [1, 45, 1]


async def test_rejected_readings_take_no_room(waiting: Pipeline) -> None:
    mine = device()
    readings = [*incoming(1.0), *incoming(float("nan")), *incoming(2.0, sensor_type="")]
    start, taken, rejected = waiting.intake.offer(mine, readings, protocol="http")
    assert (start, taken) == (0, 1)
    assert [(fault.index, fault.error) for fault in rejected] == [
        (1, "not_finite"),
        (2, "sensor_type_missing"),
    ]
    assert waiting.intake.queued == 1


async def test_rejections_keep_the_positions_of_the_body(waiting: Pipeline) -> None:
    readings = [*incoming(1.0), *incoming(float("nan"))]
    _, _, rejected = waiting.intake.offer(device(), readings, protocol="http", positions=[3, 8])
    assert [fault.index for fault in rejected] == [8]


async def test_a_reading_that_cannot_be_encoded_leaves_nothing_behind(waiting: Pipeline) -> None:
    """Whatever a reading holds, an offer is taken with its receipt, or not at all."""
    good = incoming(1.0)[0]
    bad = Incoming(value=1.0, sensor_type="t", metadata={"a": "\ud800"})
    try:
        _, taken, rejected = waiting.intake.offer(device(), [good, bad], protocol="http")
    except ValueError:
        waiting.intake.count_for(Receipt())
        assert len(await waiting.intake.take()) == 0, "taken, although the door was told otherwise"
    else:
        assert (taken, len(rejected)) == (1, 1)


async def test_assigned_times_strictly_increase_in_each_series(waiting: Pipeline) -> None:
    mine = device()
    for _ in range(3):
        waiting.intake.offer(mine, incoming(1.0, 2.0, 3.0), protocol="http")
    waiting.intake.offer(mine, incoming(9.0, sensor_type="other"), protocol="http")
    waiting.clock.advance(-60)  # a clock that was set back
    waiting.intake.offer(mine, incoming(4.0), protocol="http")
    waiting.intake.count_for(Receipt())
    group = await waiting.intake.take()
    times = [
        us for us, series in zip(group.ts_us, group.series, strict=True) if series.key[2] == "t"
    ]
    assert times == sorted(set(times))
    assert times[0] == instant_to_us(START)
    assert group.ts_us[9] == instant_to_us(START)


async def test_an_assigned_time_does_not_meet_one_that_was_sent(waiting: Pipeline) -> None:
    mine, now_us = device(), instant_to_us(START)
    waiting.intake.offer(mine, incoming(1.0, timestamp=now_us), protocol="http")
    waiting.intake.offer(mine, incoming(2.0), protocol="http")
    waiting.intake.count_for(Receipt())
    group = await waiting.intake.take()
    mine.by_key[("t", "t")].last_us = now_us
    assert group.ts_us[0] == now_us
    assert waiting.intake.offer(mine, incoming(3.0), protocol="http")[1] == 1


async def test_names_are_lower_cased_and_the_type_is_the_default_id(waiting: Pipeline) -> None:
    mine = device()
    waiting.intake.offer(mine, incoming(1.0, sensor_type=" Temp "), protocol="http")
    waiting.intake.offer(mine, incoming(1.0, sensor_type="TEMP", sensor_id="A"), protocol="http")
    waiting.intake.offer(mine, incoming(1.0, sensor_type="temp"), protocol="http")
    assert set(mine.by_key) == {("temp", "temp"), ("temp", "A")}


@pytest.mark.parametrize("name", ["İ" * 50, "İ" * 26], ids=["long", "short"])
async def test_a_name_that_grows_when_lower_cased_stays_within_its_limit(
    waiting: Pipeline, name: str
) -> None:
    mine = device()
    waiting.intake.offer(mine, incoming(1.0, sensor_type=name), protocol="http")
    assert all(len(sensor_type) <= 50 for sensor_type, _ in mine.by_key)


async def test_a_device_has_at_most_its_number_of_series(tmp_path: Path) -> None:
    async with pipeline(tmp_path, writing=False, SERIES_PER_DEVICE_MAX=3) as built:
        mine = device()
        readings = [Incoming(value=1.0, sensor_type=f"t{n}") for n in range(5)]
        _, taken, rejected = built.intake.offer(mine, readings, protocol="http")
        assert taken == 3
        assert {fault.error for fault in rejected} == {"too_many_series"}
        assert len(mine.by_key) == 3


async def test_spellings_of_names_do_not_pile_up(tmp_path: Path) -> None:
    async with pipeline(tmp_path, writing=False, SERIES_PER_DEVICE_MAX=2) as built:
        mine = device()
        for n in range(100):
            name = "".join(c.upper() if n >> i & 1 else c for i, c in enumerate("abcdefg"))
            built.intake.offer(mine, incoming(1.0, sensor_type=name), protocol="http")
        assert len(mine.known["http"]) <= 8
        assert len(mine.by_key) == 1


async def test_refusals_and_heartbeats_take_room_and_are_committed(waiting: Pipeline) -> None:
    refusal = Refusal(new_id(), ORGANIZATION, DEVICE, 0, "topic", b"x", "malformed", "No.")
    waiting.intake.refuse(refusal)
    waiting.intake.beat(Heartbeat(ORGANIZATION, DEVICE, b"{}", 0))
    waiting.intake.count_for(Receipt())
    assert waiting.intake.queued == 2
    group = await waiting.intake.take()
    assert (group.refusals, len(group.heartbeats)) == ([refusal], 1)
    waiting.intake.done(group)
    assert waiting.intake.queued == 0


async def test_giving_up_the_requests_keeps_the_counted_messages(waiting: Pipeline) -> None:
    mine, receipt = device(), Receipt()
    text = [Incoming(value="words", sensor_type="t", metadata={"a": 1})]
    waiting.intake.offer(mine, incoming(1.0, 2.0), protocol="mqtt")
    waiting.intake.count_for(receipt)
    start, count, _ = waiting.intake.offer(mine, incoming(3.0), protocol="http")
    future = waiting.intake.wait_for(start, count)
    waiting.intake.offer(mine, text, protocol="mqtt")
    waiting.intake.count_for(receipt)
    group = (await waiting.intake.take()).without_waiters()
    assert group.value == [1.0, 2.0, 0.0]
    assert group.details[2].text == "words"
    assert group.counted == {receipt: 2}
    assert group.waiters == []
    future.cancel()
