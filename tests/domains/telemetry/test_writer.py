"""Whatever waits becomes one commit; only then is anybody told, and a failure fails nobody else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fieldstation.core.clock import instant_to_us
from fieldstation.core.errors import Busy, Invalid, StationError, TooLarge
from fieldstation.core.ids import new_id
from fieldstation.domains.telemetry.intake import Heartbeat
from fieldstation.domains.telemetry.payloads import Decoded
from fieldstation.domains.telemetry.ports import Appended, Columns, Order, Refusal
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.domains.telemetry.pipeline import (
    DEVICE,
    ORGANIZATION,
    START,
    Pipeline,
    Receipt,
    incoming,
    pipeline,
)
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

NOW_US = instant_to_us(START)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(tmp_path) as built:
        yield built


class FailingStore:
    """A real store whose appends fail as often as told, before or after their commit."""

    def __init__(
        self, store: SqliteReadingStore, *failures: Exception, after: bool = False
    ) -> None:
        self.store = store
        self.failures = list(failures)
        self.after = after
        self.appends = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def append(
        self, readings: Columns, *, refusals: Sequence[Refusal] = (), **exchanges: Any
    ) -> Appended:
        self.appends += 1
        if self.failures and not self.after:
            raise self.failures.pop(0)
        appended = await self.store.append(readings, refusals=refusals, **exchanges)
        if self.failures:
            raise self.failures.pop(0)
        return appended


def fail_with(built: Pipeline, *failures: Exception, after: bool = False) -> FailingStore:
    store = FailingStore(built.store, *failures, after=after)
    built.writer.store = store  # type: ignore[assignment] # pyrefly: ignore
    return store


async def test_an_answer_means_stored(running: Pipeline) -> None:
    result = await running.take(
        {"sensor_type": "t", "value": 1.5}, {"sensor_type": "t", "value": 2}
    )
    assert result == {"accepted": 2, "duplicates": 0, "rejected": []}
    assert (await running.stored()).value == [1.5, 2.0]


async def test_what_waits_together_is_committed_together(running: Pipeline) -> None:
    results = await asyncio.gather(
        *(running.take({"sensor_type": "t", "value": n}, device=f"d{n}") for n in range(50))
    )
    assert all(result["accepted"] == 1 for result in results)
    assert running.writer.counts.accepted == 50
    assert running.writer.counts.commits < 25


async def test_the_same_again_is_a_duplicate_and_another_value_a_conflict(
    running: Pipeline,
) -> None:
    one = {"sensor_type": "t", "value": 1, "timestamp": NOW_US}
    other = {**one, "value": 2}
    assert await running.take(one) == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert await running.take(one) == {"accepted": 0, "duplicates": 1, "rejected": []}
    late = {**one, "timestamp": NOW_US - 5}
    result = await running.take({"sensor_type": "t"}, one, other, late)
    assert (result["accepted"], result["duplicates"]) == (1, 1)
    assert [(fault["index"], fault["error"]) for fault in result["rejected"]] == [
        (0, "value_missing"),
        (2, "timestamp_conflict"),
    ]
    counts = running.writer.counts
    assert (counts.accepted, counts.duplicates, counts.conflicts) == (2, 2, 1)


async def test_the_first_of_one_body_stands(running: Pipeline) -> None:
    readings = [{"sensor_type": "t", "value": n, "timestamp": NOW_US} for n in (1, 2, 1)]
    result = await running.take(*readings)
    assert (result["accepted"], result["duplicates"]) == (1, 1)
    assert [fault["index"] for fault in result["rejected"]] == [1]
    assert (await running.stored()).value == [1.0]


async def test_a_failed_commit_fails_the_request_and_stores_nothing(running: Pipeline) -> None:
    fail_with(running, Busy("away"))
    with pytest.raises(Busy):
        await running.take({"sensor_type": "t", "value": 1})
    assert len(await running.stored()) == 0
    assert (await running.take({"sensor_type": "t", "value": 2}))["accepted"] == 1
    assert running.writer.counts.failures == 1
    assert running.intake.queued == 0


async def test_counted_messages_wait_out_a_database_that_is_away(running: Pipeline) -> None:
    store, receipt = fail_with(running, Busy("away"), Busy("still away")), Receipt()
    running.intake.offer(await running.series(), incoming(1.0, 2.0), protocol="mqtt")
    running.intake.count_for(receipt)
    running.intake.count_for(receipt)
    await wait_until(lambda: receipt.settled == 2)
    assert (store.appends, receipt.failed) == (3, 0)
    assert (await running.stored()).value == [1.0, 2.0]


async def test_a_commit_whose_answer_was_lost_stores_nothing_twice(running: Pipeline) -> None:
    fail_with(running, Busy("connection lost"), after=True)
    receipt = Receipt()
    running.intake.offer(await running.series(), incoming(1.0, 2.0), protocol="mqtt")
    running.intake.count_for(receipt)
    await wait_until(lambda: receipt.settled == 1)
    assert (await running.stored()).value == [1.0, 2.0]


async def test_a_defect_fails_its_group_and_the_next_is_stored(running: Pipeline) -> None:
    fail_with(running, LookupError("a defect"))
    receipt, mine = Receipt(), await running.series()
    running.intake.offer(mine, incoming(1.0), protocol="mqtt")
    running.intake.count_for(receipt)
    start, count, _ = running.intake.offer(mine, incoming(2.0), protocol="http")
    with pytest.raises(StationError) as told:
        await running.intake.wait_for(start, count)
    assert "defect" not in told.value.detail
    assert (receipt.settled, receipt.failed) == (0, 1)
    assert (await running.take({"sensor_type": "t", "value": 3}))["accepted"] == 1
    assert (await running.stored()).value == [3.0]


async def test_more_than_the_database_takes_at_once_is_refused_and_not_tried_again(
    running: Pipeline,
) -> None:
    store = fail_with(running, TooLarge("More than max_allowed_packet."))
    receipt, mine = Receipt(), await running.series()
    running.intake.offer(mine, incoming(1.0), protocol="mqtt")
    running.intake.count_for(receipt)
    start, count, _ = running.intake.offer(mine, incoming(2.0), protocol="http")
    with pytest.raises(TooLarge, match="max_allowed_packet"):
        await running.intake.wait_for(start, count)
    assert (receipt.settled, receipt.failed) == (0, 1)
    assert (await running.take({"sensor_type": "t", "value": 3}))["accepted"] == 1
    assert (store.appends, (await running.stored()).value) == (2, [3.0])


async def test_a_client_that_left_does_not_disturb_the_writer(running: Pipeline) -> None:
    start, count, _ = running.intake.offer(await running.series(), incoming(1.0), protocol="http")
    running.intake.wait_for(start, count).cancel()
    await running.intake.emptied()
    assert (await running.take({"sensor_type": "t", "value": 2}))["accepted"] == 1
    assert (await running.stored()).value == [1.0, 2.0]


async def test_draining_waits_for_everything_that_was_taken(running: Pipeline) -> None:
    receipt, mine = Receipt(), await running.series()
    for n in range(500):
        running.intake.offer(mine, incoming(float(n)), protocol="mqtt")
        running.intake.count_for(receipt)
    async with asyncio.timeout(10):
        await running.intake.emptied()
    assert receipt.settled == 500
    assert len(await running.stored()) == 500


async def conflict_over_mqtt(running: Pipeline) -> Receipt:
    receipt, mine = Receipt(), await running.series()
    for value in (1.0, 2.0):
        running.intake.offer(mine, incoming(value, timestamp=NOW_US), protocol="mqtt")
        running.intake.count_for(receipt)
    await wait_until(lambda: receipt.settled == 2)
    return receipt


async def test_what_a_counted_message_lost_to_an_earlier_one_is_kept(running: Pipeline) -> None:
    await conflict_over_mqtt(running)

    async def is_kept() -> bool:
        found = await running.store.refusals(ORGANIZATION, DEVICE, limit=5)
        return [refusal.error for refusal in found] == ["timestamp_conflict"]

    await wait_until(is_kept, timeout_s=3)
    assert running.intake.queued == 0


async def test_a_conflict_does_not_keep_the_station_from_stopping(running: Pipeline) -> None:
    await conflict_over_mqtt(running)
    async with asyncio.timeout(3):
        await running.intake.emptied()


async def test_refusals_are_stored_before_their_message_is_settled(running: Pipeline) -> None:
    receipt = Receipt()
    running.intake.refuse(
        Refusal(new_id(), ORGANIZATION, DEVICE, NOW_US, "topic", b"\xff", "malformed", "No.")
    )
    running.intake.count_for(receipt)
    await wait_until(lambda: receipt.settled == 1)
    (kept,) = await running.store.refusals(ORGANIZATION, DEVICE, limit=5)
    assert (kept.error, kept.payload) == ("malformed", b"\xff")


async def test_heartbeats_are_kept_before_their_message_is_settled(running: Pipeline) -> None:
    receipt, beat = Receipt(), Heartbeat(ORGANIZATION, DEVICE, b"{}", NOW_US)
    running.intake.beat(beat)
    running.intake.count_for(receipt)
    await wait_until(lambda: receipt.settled == 1)
    assert running.heartbeats == [beat]


async def test_a_heartbeat_that_cannot_be_kept_does_not_unsay_readings(running: Pipeline) -> None:
    """503 promises that nothing was stored: a request whose readings are stored must not get it."""
    failures: list[Exception] = [Busy("station database away")]

    async def keep(_found: Sequence[Heartbeat]) -> None:
        if failures:
            raise failures.pop()

    running.writer.keep_heartbeats = keep
    running.intake.beat(Heartbeat(ORGANIZATION, DEVICE, b"{}", NOW_US))
    running.intake.count_for(Receipt())
    try:
        result = await running.take({"sensor_type": "t", "value": 1})
    except Busy:
        assert len(await running.stored()) == 0
    else:
        assert result["accepted"] == 1


async def test_consumers_are_told_what_was_stored_in_order(running: Pipeline) -> None:
    await running.take({"sensor_type": "t", "value": 1, "timestamp": NOW_US})
    await running.take(
        {"sensor_type": "t", "value": 1, "timestamp": NOW_US},
        {"sensor_type": "t", "value": 2, "timestamp": NOW_US + 1},
    )
    first, second = running.committed
    assert [
        committed.readings.value[n] for committed in (first, second) for n in committed.positions()
    ] == [1, 2]
    assert second.seq == first.seq + 1


async def test_units_and_origins_are_kept_with_each_reading(running: Pipeline) -> None:
    await running.take(
        {"sensor_type": "t", "value": 1, "unit": "°C"},
        {"sensor_type": "t", "value": 2, "unit": "°F", "origin": "edge"},
        {"sensor_type": "t", "value": 3, "unit": "°C"},
    )
    (row,) = await running.store.find_series(ORGANIZATION)
    labels = [row.variants[flags >> 8] for flags in (await running.stored()).flags]
    assert [(label.unit, label.origin) for label in labels] == [
        ("°C", None),
        ("°F", "edge"),
        ("°C", None),
    ]


async def test_a_spike_is_stored_with_its_score(running: Pipeline) -> None:
    steady = [{"sensor_type": "t", "value": 20 + n % 3 * 0.1} for n in range(100)]
    await running.take(*steady, {"sensor_type": "t", "value": 35, "metadata": {"a": 1}})
    assert running.writer.counts.anomalies == 1
    rows = await running.store.find_series(ORGANIZATION)
    page = await running.store.page(
        rows, start_us=0, end_us=1 << 60, order=Order.NEWEST_FIRST, limit=5, anomaly=True
    )
    assert page.value == [35.0]
    assert (page.details[0].score or 0) > 6
    assert page.details[0].metadata == b'{"a":1}'


@pytest.mark.parametrize("extreme", [1.7e308, -1.7e308])
async def test_the_largest_numbers_are_stored_and_flagged(
    running: Pipeline, extreme: float
) -> None:
    await running.take(*({"sensor_type": "t", "value": 20 + n % 3} for n in range(60)))
    assert (await running.take({"sensor_type": "t", "value": extreme}))["accepted"] == 1
    (committed,) = [c for c in running.committed if extreme in c.readings.value]
    detail = committed.readings.details[committed.readings.value.index(extreme)]
    assert detail.score is not None
    assert detail.score < float("inf")


async def test_too_many_readings_and_none_that_is_valid(running: Pipeline) -> None:
    decoded = Decoded(incoming(*range(10_001)), None, [])
    door = running.door
    with pytest.raises(TooLarge) as too_many:
        await door.take(decoded, organization_id=ORGANIZATION, device_id=DEVICE, protocol="http")
    assert too_many.value.code == "too_many_readings"
    with pytest.raises(Invalid) as none:
        await running.take({"sensor_type": "t"}, {"sensor_type": "", "value": 1})
    assert none.value.code == "no_valid_readings"
    assert [fault["index"] for fault in none.value.members["rejected"]] == [0, 1]
    assert await running.take() == {"accepted": 0, "duplicates": 0, "rejected": []}
