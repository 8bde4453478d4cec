"""Answers how groups of series went: their buckets, and what those came to in the period before."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.db.database import Database
from fieldstation.domains.analytics.schemas import GroupBy, TrendAggregate
from fieldstation.domains.analytics.trends import ALL_TIME_US, Period, trends
from fieldstation.domains.devices.service import devices
from fieldstation.domains.identity.schemas import TenantScope
from fieldstation.domains.telemetry.bucketing import check_bucket_count
from fieldstation.domains.telemetry.ports import ReadingStore, SeriesRow
from fieldstation.domains.telemetry.service import ReadingFilter, find_series
from fieldstation.domains.telemetry.summaries import Bucket


@dataclass(frozen=True, slots=True)
class TrendRequest:
    """Which trends are asked for."""

    series: ReadingFilter
    period: Period
    aggregate: TrendAggregate
    group_by: GroupBy


class Group(NamedTuple):
    """What the series of one trend have in common."""

    sensor_type: str
    device_id: str | None = None
    tag: str | None = None


async def find_trends(
    store: ReadingStore, database: Database, scope: TenantScope, asked: TrendRequest
) -> dict[str, Any]:
    """Return the trend of every group that has numbers in the period or in the one before.

    Cost: per series what ``buckets`` costs in the period, and one bucket of the period before.
    Raises ``Invalid`` for more than ``BUCKETS_MAX`` buckets, a series counted for each of its
    groups.
    """
    period = asked.period
    series = await find_series(store, scope, asked.series)
    check(period, len(series))
    groups = await grouped(database, scope, series, asked.group_by)
    check(period, sum(map(len, groups.values())))
    buckets = await store.buckets(
        series,
        start_us=period.start_us,
        end_us=period.end_us,
        interval_us=period.interval_us,
    )
    before = await store.buckets(
        series,
        start_us=period.start_us - (period.end_us - period.start_us),
        end_us=period.start_us,
        interval_us=ALL_TIME_US,
    )
    items = await asyncio.to_thread(trends_of, groups, buckets, before, asked)
    return {
        "interval_s": period.interval_us // 1_000_000,
        "aggregate": asked.aggregate,
        "group_by": asked.group_by,
        "start": us_to_rfc3339(period.start_us),
        "end": us_to_rfc3339(period.end_us),
        "items": items,
    }


def check(period: Period, series: int) -> None:
    check_bucket_count(
        start_us=period.start_us,
        end_us=period.end_us,
        interval_us=period.interval_us,
        series=series,
    )


async def grouped(
    database: Database, scope: TenantScope, series: Sequence[SeriesRow], group_by: GroupBy
) -> Mapping[Group, Sequence[SeriesRow]]:
    """Sort series into groups; by tag into several or none."""
    groups: defaultdict[Group, list[SeriesRow]] = defaultdict(list)
    tags: Mapping[str, Sequence[str]] = {}
    if group_by is GroupBy.TAG:
        async with database.reading() as session:
            tags = await devices.tags_of(session, scope, {row.key.device_id for row in series})
    for row in series:
        sensor_type, device_id = row.key.sensor_type, row.key.device_id
        if group_by is GroupBy.DEVICE:
            groups[Group(sensor_type, device_id=device_id)].append(row)
        elif group_by is GroupBy.TYPE:
            groups[Group(sensor_type)].append(row)
        for tag in tags.get(device_id, ()):
            groups[Group(sensor_type, tag=tag)].append(row)
    return groups


def trends_of(
    groups: Mapping[Group, Sequence[SeriesRow]],
    buckets: Sequence[Bucket],
    before: Sequence[Bucket],
    asked: TrendRequest,
) -> list[dict[str, Any]]:
    ordered = sorted(groups.items(), key=lambda item: item[0])
    groups_of: defaultdict[int, list[int]] = defaultdict(list)
    for number, (_, series) in enumerate(ordered):
        for row in series:
            groups_of[row.id].append(number)
    found = trends(
        buckets,
        before,
        groups_of,
        groups=len(ordered),
        period=asked.period,
        aggregate=asked.aggregate,
    )
    return [
        {**group._asdict(), "series": len(series), "units": units_of(series), **content}
        for (group, series), content in zip(ordered, found, strict=True)
        if content is not None
    ]


def units_of(series: Sequence[SeriesRow]) -> list[str]:
    return sorted({variant.unit for row in series for variant in row.variants if variant.unit})
