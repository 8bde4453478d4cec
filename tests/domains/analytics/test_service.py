"""Trends equal a recomputation from the readings, on each database, rolled up or not."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.core.errors import Invalid
from fieldstation.db.database import Database
from fieldstation.domains.analytics.schemas import GroupBy, TrendAggregate
from fieldstation.domains.analytics.service import TrendRequest, find_trends
from fieldstation.domains.analytics.trends import Period
from fieldstation.domains.audit.schemas import STATION
from fieldstation.domains.devices.schemas.devices import DeviceCreate
from fieldstation.domains.devices.service import devices
from fieldstation.domains.identity.schemas import TenantScope
from fieldstation.domains.identity.service import organizations
from fieldstation.domains.telemetry.ports import SeriesKey, Variant
from fieldstation.domains.telemetry.rendering import encode
from fieldstation.domains.telemetry.service import ReadingFilter
from tests.contracts.reading_databases import ReadingStoreUnderTest
from tests.contracts.readings import DAY_US, HOUR_US, MINUTE_US, Given, append

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MIDNIGHT_US = 20_800 * DAY_US
BEHIND_US = MIDNIGHT_US + 14 * DAY_US
TAGS = (("north", "old"), ("north",), ("south", "wet"), ())
TYPES = ("temperature", "humidity")
PERIODS = {
    "days": Period(MIDNIGHT_US + 7 * DAY_US, BEHIND_US, DAY_US),
    "edges": Period(BEHIND_US - 5 * DAY_US + 1234, BEHIND_US - MINUTE_US, DAY_US),
    "hours": Period(BEHIND_US - 30 * HOUR_US, BEHIND_US - 7 * HOUR_US, 6 * HOUR_US),
    "weeks": Period(MIDNIGHT_US + 6 * DAY_US, BEHIND_US, 7 * DAY_US),
    "one": Period(MIDNIGHT_US + 7 * DAY_US, MIDNIGHT_US + 8 * DAY_US, DAY_US),
}
BY_HAND: dict[TrendAggregate, Callable[[Sequence[float]], float]] = {
    TrendAggregate.AVG: statistics.fmean,
    TrendAggregate.MIN: min,
    TrendAggregate.MAX: max,
    TrendAggregate.SUM: math.fsum,
    TrendAggregate.COUNT: len,
}


class Field:
    """Four devices with two sensors each that send at different rates, and all they sent."""

    def __init__(self, store: ReadingStoreUnderTest, database: Database) -> None:
        self.store = store
        self.database = database
        self.organization_id = ""
        self.tags: dict[str, tuple[str, ...]] = {}
        self.sent: list[tuple[SeriesKey, int, float]] = []

    async def fill(self) -> "Field":
        async with self.database.transaction() as session:
            found = await organizations.ensure_first_organization(session, name="Harbour", now=NOW)
            self.organization_id = found.id
            for tags in TAGS:
                form = DeviceCreate(name="pump", tags=list(tags))
                device = devices.add_device(session, found.id, form, actor=STATION, now=NOW)
                self.tags[device.id] = tags
        random = Random(5)  # noqa: S311 - readings, not secrets
        rows = await self.store.resolve_series(
            [
                SeriesKey(self.organization_id, device_id, kind, "s")
                for device_id in self.tags
                for kind in TYPES
            ]
        )
        await self.store.resolve_variants([(row.id, Variant("°C", None, "http")) for row in rows])
        for number, row in enumerate(rows):
            every_us = (17 + 23 * number) * MINUTE_US
            instants = range(MIDNIGHT_US + number, BEHIND_US, every_us)
            values = [random.gauss(20 + at / len(instants), 3) for at in range(len(instants))]
            self.sent += [(row.key, *one) for one in zip(instants, values, strict=True)]
            await append(
                self.store,
                [Given(row.id, *one) for one in zip(instants, values, strict=True)],
            )
        await append(self.store, [Given(rows[0].id, BEHIND_US - 1, text="no number")])
        return self

    async def ask(
        self, period: Period, aggregate: TrendAggregate, group_by: GroupBy, **wanted: Any
    ) -> dict[str, Any]:
        asked = TrendRequest(ReadingFilter(**wanted), period, aggregate, group_by)
        scope = TenantScope(self.organization_id)
        found = await find_trends(self.store, self.database, scope, asked)
        return msgspec.json.decode(encode(found))

    def labels(self, key: SeriesKey, group_by: GroupBy) -> list[tuple[str | None, ...]]:
        if group_by is GroupBy.DEVICE:
            return [(key.sensor_type, key.device_id, None)]
        if group_by is GroupBy.TYPE:
            return [(key.sensor_type, None, None)]
        return [(key.sensor_type, None, tag) for tag in self.tags[key.device_id]]

    def values(
        self, group_by: GroupBy, start_us: int, end_us: int
    ) -> dict[tuple[str | None, ...], list[tuple[int, float]]]:
        found: defaultdict[tuple[str | None, ...], list[tuple[int, float]]] = defaultdict(list)
        for key, ts_us, value in self.sent:
            if start_us <= ts_us < end_us:
                for label in self.labels(key, group_by):
                    found[label].append((ts_us, value))
        return found


@pytest.fixture
async def field(store: ReadingStoreUnderTest, own_database: Database) -> Field:
    return await Field(store, own_database).fill()


def check(field: Field, found: dict[str, Any], period: Period, asked: tuple[Any, Any]) -> None:
    """Compare an answer with what the readings come to, one by one."""
    aggregate, group_by = asked
    of = BY_HAND[aggregate]
    within = field.values(group_by, period.start_us, period.end_us)
    before = field.values(group_by, 2 * period.start_us - period.end_us, period.start_us)
    shown = [(one["sensor_type"], one["device_id"], one["tag"]) for one in found["items"]]
    assert shown == sorted(within, key=lambda label: [name or "" for name in label])
    for label, item in zip(shown, found["items"], strict=True):
        own, earlier = [v for _, v in within[label]], [v for _, v in before[label]]
        assert (item["count"], item["previous_count"]) == (len(own), len(earlier))
        assert item["value"] == pytest.approx(of(own))
        assert item["previous_value"] == pytest.approx(of(earlier))
        assert item["change"] == pytest.approx(of(own) - of(earlier), abs=1e-9)
        assert item["relative_change"] == pytest.approx(of(own) / of(earlier) - 1, abs=1e-9)
        by_bucket: defaultdict[int, list[float]] = defaultdict(list)
        for ts_us, value in within[label]:
            by_bucket[ts_us - ts_us % period.interval_us].append(value)
        for one, (start_us, values) in zip(item["buckets"], sorted(by_bucket.items()), strict=True):
            assert (one["start"], one["count"]) == (us_to_rfc3339(start_us), len(values))
            assert one["value"] == pytest.approx(of(values))
        whole = [
            (start_us / DAY_US, of(values))
            for start_us, values in sorted(by_bucket.items())
            if start_us >= period.start_us and start_us + period.interval_us <= period.end_us
        ]
        if len(whole) < 2:
            assert (item["slope_per_day"], item["direction"]) == (None, None)
        else:
            line = statistics.linear_regression(*zip(*whole, strict=True))
            assert item["slope_per_day"] == pytest.approx(line.slope, abs=1e-9)


@pytest.mark.parametrize("rolled_up", [False, True])
async def test_trends_equal_a_recomputation(field: Field, rolled_up: bool) -> None:
    if rolled_up:
        await field.store.flush()
        while await field.store.roll_up(before_us=BEHIND_US - 3 * HOUR_US):
            pass
    for period in PERIODS.values():
        for asked in [(a, g) for a in TrendAggregate for g in GroupBy]:
            check(field, await field.ask(period, *asked), period, asked)


async def test_question_names_types_devices_and_sensors(field: Field) -> None:
    one = next(iter(field.tags))
    asked = (PERIODS["days"], TrendAggregate.AVG, GroupBy.DEVICE)
    for wanted, count in (
        ({}, 8),
        ({"sensor_types": ("humidity",)}, 4),
        ({"device_ids": (one, "nobody")}, 2),
        ({"device_ids": (one,), "sensor_types": ("humidity",)}, 1),
        ({"sensor_ids": ("s",)}, 8),
        ({"sensor_ids": ("t",)}, 0),
    ):
        found = await field.ask(*asked, **wanted)
        assert len(found["items"]) == count, wanted
        assert all(item["units"] == ["°C"] for item in found["items"])


async def test_group_says_how_many_series_it_has(field: Field) -> None:
    asked = (PERIODS["days"], TrendAggregate.AVG)
    for group_by, series in ((GroupBy.TYPE, [4, 4]), (GroupBy.TAG, [2, 1, 1, 1] * 2)):
        found = await field.ask(*asked, group_by)
        assert [item["series"] for item in found["items"]] == series


async def test_nothing_is_answered_where_nothing_was_sent(field: Field) -> None:
    empty = Period(BEHIND_US + 99 * DAY_US, BEHIND_US + 100 * DAY_US, HOUR_US)
    for group_by in GroupBy:
        assert (await field.ask(empty, TrendAggregate.COUNT, group_by))["items"] == []


async def test_series_counts_for_each_tag_it_is_answered_with(field: Field) -> None:
    """Eight series may have 12,500 buckets each, but two of their devices have two tags."""
    period = Period(BEHIND_US - 12_499 * HOUR_US, BEHIND_US, HOUR_US)
    found = await field.ask(period, TrendAggregate.COUNT, GroupBy.TYPE)
    assert len(found["items"][0]["buckets"]) == 12_499
    with pytest.raises(Invalid, match="125000 buckets, more than 100000; take a longer one"):
        await field.ask(period, TrendAggregate.COUNT, GroupBy.TAG)
    longer = Period(period.start_us - HOUR_US, BEHIND_US, HOUR_US)
    with pytest.raises(Invalid, match="100008 buckets"):
        await field.ask(longer, TrendAggregate.COUNT, GroupBy.TYPE)
