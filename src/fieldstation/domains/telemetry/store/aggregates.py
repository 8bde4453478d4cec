"""Buckets and statistics: from rollups where those hold, from readings elsewhere.

Readings come in blocks of hours that fit into memory, and numpy computes the partial results that
rollups have ready.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import inf, sqrt

import numpy as np

from fieldstation.domains.telemetry.ports import SeriesRow
from fieldstation.domains.telemetry.store.coverage import (
    Coverage,
    Region,
    covered,
    settled,
    unaided,
)
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.gathering import END_US_MAX, bounded
from fieldstation.domains.telemetry.store.partials import (
    SQUARED_MAX,
    Partials,
    joined_partials,
    merged,
    summarised,
)
from fieldstation.domains.telemetry.store.points import Floats, runs
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.rollup_blocks import DAY, HOUR
from fieldstation.domains.telemetry.store.rollups import SeriesHour
from fieldstation.domains.telemetry.store.sketches import Sketch, added, percentile_of, sketched
from fieldstation.domains.telemetry.store.steps import Steps
from fieldstation.domains.telemetry.store.walks import SERIES_PER_WALK, Walk
from fieldstation.domains.telemetry.summaries import Bucket, SeriesStats

# Of a series with more readings every second, every fourth … is ranked: a rank is then off by less
# than one in a million.
RANKED_MAX = 4_000_000
LINES_MAX = 200_000
"""Of rollups that are brought together at a time."""
ALL_TIME_US = END_US_MAX


def buckets(
    dialect: Dialect,
    parts: Sequence[Part],
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    interval_us: int,
    anomaly: bool | None = None,
) -> Steps[list[Bucket]]:
    """Aggregate into buckets.

    Cost: intervals of whole days read a row per series and 32 days, of whole hours a row per series
    and day, and every chunk of the hours without rollups: at the edges, since the watermark, stale
    ones. Other intervals, and only flagged readings or only others, read every chunk of the period.
    Holds about a million readings at a time.
    """
    start_us, end_us = bounded(start_us, end_us)
    widths = widths_for(interval_us) if anomaly is None else ()
    found: list[Bucket] = []
    for ids in groups(series, end_us - start_us if widths else 0):
        everything = Region(ids, start_us, end_us)
        work = partial(
            _buckets,
            dialect,
            parts,
            everything,
            widths=widths,
            interval_us=interval_us,
            anomaly=anomaly,
        )
        found += yield from settled(dialect, ids, work)
    return sorted(found, key=lambda bucket: (bucket.series_id, bucket.start_us))


def _buckets(
    dialect: Dialect,
    parts: Sequence[Part],
    everything: Region,
    *,
    widths: Collection[int],
    interval_us: int,
    anomaly: bool | None,
) -> Steps[tuple[list[Bucket], Coverage]]:
    coverage = yield from _covered(dialect, parts, everything, widths)
    pieces = [coverage.lines]
    for region in coverage.regions:
        walk = walk_of(region, anomaly)
        while (block := (yield from walk.next_block(dialect, parts))) is not None:
            pieces.append(summarised(block, interval_us))
    return [*_buckets_of(merged(joined_partials(pieces), interval_us))], coverage


def stats(
    dialect: Dialect,
    parts: Sequence[Part],
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    anomaly: bool | None = None,
    exact_readings_max: int,
) -> Steps[list[SeriesStats]]:
    """Summarise each series.

    Cost: whole days with rollups are a row per series and 32 days, unless a series has no more
    than ``exact_readings_max`` in them: those, and all other chunks of the period, are read and
    their values ranked. So percentiles are exact for short periods, within 1 % of the value for
    others. Holds about a million readings at a time, and the values of 100 series.

    Before a series' floor only whole days count: the readings of the others are gone, and hours
    know no percentiles.
    """
    start_us, end_us = bounded(start_us, end_us)
    found: list[SeriesStats] = []
    for ids in groups(series, 0):
        everything = Region(ids, start_us, end_us)
        work = partial(_stats, dialect, parts, everything, anomaly, exact_readings_max)
        found += yield from settled(dialect, ids, work)
    return sorted(found, key=lambda summary: summary.series_id)


def _stats(
    dialect: Dialect,
    parts: Sequence[Part],
    everything: Region,
    anomaly: bool | None,
    exact_readings_max: int,
) -> Steps[tuple[list[SeriesStats], Coverage]]:
    widths = (DAY,) if anomaly is None else ()
    coverage = yield from _covered(dialect, parts, everything, widths, sketches=True)
    coverage = _but_few(coverage, everything, exact_readings_max)
    pieces = [coverage.lines]
    ranks: defaultdict[int, Ranks] = defaultdict(Ranks)
    for series_id, start in zip(*_days(coverage.lines), strict=True):
        ranks[series_id].days.append(coverage.sketches[SeriesHour(series_id, start)])
    for region in coverage.regions:
        walk = walk_of(region, anomaly)
        while (block := (yield from walk.next_block(dialect, parts))) is not None:
            pieces.append(summarised(block, ALL_TIME_US))
            bounds = runs(block.series_id).tolist()
            for low, high in pairwise(bounds):
                ranks[int(block.series_id[low])].add(block.value[low:high])
    return [*_stats_of(merged(joined_partials(pieces), ALL_TIME_US), ranks)], coverage


def widths_for(interval_us: int) -> tuple[int, ...]:
    """Return the widths of rollups of which an interval is a multiple."""
    return tuple(hours for hours in (HOUR, DAY) if interval_us % (hours * US_PER_HOUR) == 0)


def groups(series: Sequence[SeriesRow], by_hours_us: int) -> Iterator[list[int]]:
    """Yield so many series at a time that what is brought together stays small."""
    size = max(1, min(SERIES_PER_WALK, LINES_MAX // (max(0, by_hours_us) // US_PER_HOUR + 1)))
    ids = [row.id for row in series]
    for at in range(0, len(ids), size):
        yield ids[at : at + size]


def walk_of(region: Region, anomaly: bool | None) -> Walk:
    return Walk(*region, anomaly=anomaly)


def _covered(
    dialect: Dialect,
    parts: Sequence[Part],
    everything: Region,
    widths: Collection[int],
    *,
    sketches: bool = False,
) -> Steps[Coverage]:
    if not widths:
        return unaided(everything)
    return (yield from covered(dialect, parts, everything, widths=widths, sketches=sketches))


def _buckets_of(lines: Partials) -> Iterator[Bucket]:
    columns = (
        lines.series_id,
        lines.start_us,
        lines.count,
        lines.total,
        lines.deviations,
        lines.minimum,
        lines.maximum,
        lines.first,
        lines.last,
    )
    for row in zip(*(column.tolist() for column in columns), strict=True):
        yield Bucket(*row)


def _but_few(coverage: Coverage, everything: Region, few_max: int) -> Coverage:
    """Read the series that have few readings in the days that rollups tell, and all of them."""
    if not len(coverage.lines):
        return coverage
    whole = merged(coverage.lines, ALL_TIME_US)
    many = set(whole.series_id[whole.count > few_max].tolist())
    many |= {one for one in coverage.floors if coverage.floor_us(one) > everything.start_us}
    few = [series_id for series_id in everything.series_ids if series_id not in many]
    regions = [
        Region([one for one in region.series_ids if one in many], region.start_us, region.end_us)
        for region in coverage.regions
    ]
    return Coverage(
        coverage.lines.take(np.isin(coverage.lines.series_id, list(many))),
        [region for region in [*regions, everything._replace(series_ids=few)] if region.series_ids],
        coverage.sketches,
        coverage.floors,
        is_certain=coverage.is_certain and not few,
    )


def _days(lines: Partials) -> tuple[list[int], list[int]]:
    return lines.series_id.tolist(), (lines.start_us // (DAY * US_PER_HOUR)).tolist()


def _stats_of(lines: Partials, ranks: "defaultdict[int, Ranks]") -> Iterator[SeriesStats]:
    """Return the statistics of lines, one a series."""
    columns = (
        lines.series_id,
        lines.count,
        lines.total,
        lines.deviations,
        lines.minimum,
        lines.maximum,
        lines.first,
        lines.last,
        lines.first_us,
        lines.last_us,
    )
    for row in zip(*(column.tolist() for column in columns), strict=True):
        series_id, count, total, deviations, minimum, maximum, first, last, start, end = row
        moderate = max(maximum, -minimum) <= SQUARED_MAX
        p50, p95 = (
            ranks[series_id].percentile(percent, minimum=minimum, maximum=maximum)
            for percent in (50, 95)
        )
        yield SeriesStats(
            series_id=series_id,
            count=count,
            minimum=minimum,
            maximum=maximum,
            mean=total / count if moderate else inf,
            stddev=sqrt(deviations / count) if moderate else inf,
            first=first,
            last=last,
            p50=p50,
            p95=p95,
            start_us=start,
            end_us=end,
        )


@dataclass(slots=True)
class Ranks:
    """The values of one series so far, and the sketches of its days."""

    stride: int = 1
    values: list[Floats] = field(default_factory=list)
    count: int = 0
    days: list[Sketch] = field(default_factory=list)

    def add(self, values: Floats) -> None:
        self.values.append(values[:: self.stride])
        self.count += len(self.values[-1])
        while self.count > RANKED_MAX:
            self.values = [np.concatenate(self.values)[::2]]
            self.count = len(self.values[0])
            self.stride *= 2

    def percentile(self, percent: int, *, minimum: float, maximum: float) -> float:
        """Return a percentile: exact without days, else within one percent."""
        if not self.days:
            return percentile(np.concatenate(self.values), percent)
        if self.values:
            rest = sketched(np.concatenate(self.values))
            self.days.append(Sketch(rest.bins, rest.counts * self.stride))
            self.values = []
        if len(self.days) > 1:
            self.days = [added(self.days)]
        return percentile_of(self.days[0], percent, minimum=minimum, maximum=maximum)


def percentile(values: Floats, percent: int) -> float:
    """Return a percentile, interpolated between neighbours; differences may exceed a double."""
    place, rest = divmod((len(values) - 1) * percent, 100)
    above = min(place + 1, len(values) - 1)
    ordered = np.partition(values, (place, above))
    share = rest / 100
    return float(ordered[place]) * (1 - share) + float(ordered[above]) * share
