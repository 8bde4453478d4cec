"""What of a period rollups tell exactly, and what has to be read.

Rollups stand for whole spans (hours or days) before the watermark of which no hour is marked as
stale and nothing lies in memory. Whoever asks took the parts from memory before; a reading that is
in none of them is in a chunk whose commit marked its hour, or was counted by the rollup.

Before the floor of a series rollups are taken as they are, and nothing is read: what late readings
there are goes with the next deletion.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from fieldstation.domains.telemetry.store import rollups
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.floors import floors_of
from fieldstation.domains.telemetry.store.partials import Partials, joined_partials, nothing
from fieldstation.domains.telemetry.store.recent import Part, between
from fieldstation.domains.telemetry.store.rollup_blocks import (
    DAY,
    HOUR,
    SLOTS,
    BlockKey,
    unpack_blocks,
)
from fieldstation.domains.telemetry.store.rollups import BlockRange, SeriesHour
from fieldstation.domains.telemetry.store.sketches import Sketch, unpack_sketches
from fieldstation.domains.telemetry.store.steps import Steps

ATTEMPTS = 3

Result = TypeVar("Result")


class Region(NamedTuple):
    """Readings that have to be read; regions of one series never overlap."""

    series_ids: Sequence[int]
    start_us: int
    end_us: int

    @property
    def is_short(self) -> bool:
        """Tell whether it is shorter than a day: readings are kept for a day at least."""
        return self.end_us - self.start_us < DAY * US_PER_HOUR


@dataclass(frozen=True, slots=True)
class Coverage:
    """What rollups tell of a period, by hours and by days that do not overlap, the rest of it, the
    sketches of the days by ``(series_id, day)`` and the floors of those series that have one.

    ``is_certain``: no whole span before the watermark is to be read, nor a day behind it, so that
    no deletion can take away meanwhile what rollups would tell by then.
    """

    lines: Partials
    regions: list[Region]
    sketches: dict[SeriesHour, Sketch]
    floors: dict[int, int]
    is_certain: bool

    def floor_us(self, series_id: int) -> int:
        """Return the instant before which a series has only rollups."""
        return self.floors.get(series_id, 0) * US_PER_HOUR


def unaided(everything: Region) -> Coverage:
    """Return what is known without rollups: everything is to be read."""
    return Coverage(nothing(), [everything], {}, {}, is_certain=True)


class Stretch(NamedTuple):
    """Hours of a period, ``[first, behind)``, that lines of one width might tell."""

    hours: int
    first: int
    behind: int

    def blocks(self) -> BlockRange:
        length = self.hours * SLOTS[self.hours]
        return BlockRange(self.hours, self.first // length, (self.behind - 1) // length)

    def span(self, hour: int) -> tuple[int, int]:
        """Return the hours that one line tells, that of this hour."""
        begin = hour - hour % self.hours
        return begin, begin + self.hours


def stretches(
    start_us: int, end_us: int, before: int, widths: Collection[int]
) -> Sequence[Stretch]:
    """Divide what lies before the watermark, whole hours in whole days where that is wanted."""
    first, behind = -(-start_us // US_PER_HOUR), min(end_us // US_PER_HOUR, before)
    day, day_end = first + -first % DAY, behind - behind % DAY
    found = [Stretch(HOUR, first, behind)]
    if DAY in widths and day < day_end:
        found = [
            Stretch(HOUR, first, day),
            Stretch(DAY, day, day_end),
            Stretch(HOUR, day_end, behind),
        ]
    return [one for one in found if one.first < one.behind and one.hours in widths]


def covered(
    dialect: Dialect,
    parts: Sequence[Part],
    everything: Region,
    *,
    widths: Collection[int],
    sketches: bool = False,
) -> Steps[Coverage]:
    """Read the rollups of a period that hold, by days where those are wanted and by hours at its
    edges if those are, and say what is left. Without a whole span in the period all of it is.

    Cost: one search for the watermark, then one statement: per series and stretch a search and a
    row for each day (by hours) or each 32 days (by days), and two more searches a series.
    """
    before = yield from rollups.watermark(dialect)
    work = partial(_covered, dialect, parts, everything, widths=widths, sketches=sketches)
    coverage = yield from work(before=before)
    if max(coverage.floors.values(), default=0) > before:
        # Rolled up and deleted since the watermark was read.
        coverage = yield from work(before=(yield from rollups.watermark(dialect)))
    return coverage


def _covered(
    dialect: Dialect,
    parts: Sequence[Part],
    everything: Region,
    *,
    before: int,
    widths: Collection[int],
    sketches: bool,
) -> Steps[Coverage]:
    series_ids, start_us, end_us = everything
    told = stretches(start_us, end_us, before, widths)
    if not told:
        if everything.is_short:
            return unaided(everything)
        floors = yield from floors_of(dialect, series_ids)
        return Coverage(nothing(), [everything], {}, floors, is_certain=False)
    first, behind = told[0].first, told[-1].behind
    stored = yield from rollups.stored_blocks(
        dialect,
        series_ids,
        [stretch.blocks() for stretch in told],
        marked=(first, behind - 1),
        sketches=sketches,
    )
    unsure = stored.stale | _in_memory(parts, series_ids, first, behind)
    open_spans = {
        (series_id, *stretch.span(hour))
        for series_id, hour in unsure
        for stretch in told
        if max(stretch.first, stored.floors.get(series_id, 0)) <= hour < stretch.behind
    }
    lines = joined_partials([_lines(stored.blocks, stretch, open_spans) for stretch in told])
    regions = [
        Region(series_ids, start_us, first * US_PER_HOUR),
        *_open_regions(open_spans),
        Region(series_ids, behind * US_PER_HOUR, end_us),
    ]
    kept = [*_kept(regions, stored.floors)]
    return Coverage(
        lines,
        kept,
        _sketches_by_day(stored.sketches),
        stored.floors,
        is_certain=not open_spans and all(region.is_short for region in kept),
    )


def settled(
    dialect: Dialect, series_ids: Sequence[int], work: Callable[[], Steps[tuple[Result, Coverage]]]
) -> Steps[Result]:
    """Do some work again when readings that it may have looked for were deleted meanwhile; three
    times at most, for floors rise once a day.

    Cost: a search a series where the coverage was not certain.
    """
    for _ in range(ATTEMPTS):
        result, coverage = yield from work()
        if coverage.is_certain or coverage.floors == (yield from floors_of(dialect, series_ids)):
            break
    return result


def _kept(regions: Iterable[Region], floors: Mapping[int, int]) -> Iterator[Region]:
    """Leave out empty regions, and from others the series whose floor lies behind them.

    Floors are the first hours of days and lie before the watermark, so none lies inside a region.
    """
    for region in regions:
        first = region.start_us // US_PER_HOUR
        ids = [one for one in region.series_ids if floors.get(one, 0) <= first]
        if ids and region.start_us < region.end_us:
            yield region._replace(series_ids=ids)


def _in_memory(
    parts: Sequence[Part], series_ids: Sequence[int], first: int, behind: int
) -> set[SeriesHour]:
    return {
        SeriesHour(int(piece.series_id[0]), hour)
        for part in parts
        for piece in between(part, series_ids, first * US_PER_HOUR, behind * US_PER_HOUR)
        for hour in np.unique(piece.ts_us // US_PER_HOUR).tolist()
    }


def _lines(
    blocks: Sequence[tuple[BlockKey, bytes]],
    stretch: Stretch,
    open_spans: Collection[tuple[int, int, int]],
) -> Partials:
    """Return a stretch's lines but those of open spans."""
    _, low, high = stretch.blocks()
    lines = unpack_blocks(
        [
            block
            for block in blocks
            if block[0].hours == stretch.hours and low <= block[0].number <= high
        ],
        stretch.hours,
    )
    hour = lines.start_us // US_PER_HOUR
    lines = lines.take((hour >= stretch.first) & (hour < stretch.behind))
    if not open_spans or not len(lines):
        return lines
    starts = {(series_id, first) for series_id, first, _ in open_spans}
    keys = zip(lines.series_id.tolist(), (lines.start_us // US_PER_HOUR).tolist(), strict=True)
    return lines.take(np.array([key not in starts for key in keys], np.bool_))


def _open_regions(spans: Iterable[tuple[int, int, int]]) -> Iterator[Region]:
    """Join spans that follow each other and are of the same series."""
    by_span: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for series_id, first, behind in sorted(spans):
        by_span[first, behind].append(series_id)
    last: Region | None = None
    for (first, behind), ids in sorted(by_span.items()):
        start_us, end_us = first * US_PER_HOUR, behind * US_PER_HOUR
        if last is not None and last.end_us == start_us and last.series_ids == ids:
            last = last._replace(end_us=end_us)
            continue
        if last is not None:
            yield last
        last = Region(ids, start_us, end_us)
    if last is not None:
        yield last


def _sketches_by_day(packed: dict[BlockKey, bytes]) -> dict[SeriesHour, Sketch]:
    return {
        SeriesHour(key.series_id, key.number * SLOTS[DAY] + slot): sketch
        for key, data in packed.items()
        for slot, sketch in unpack_sketches(data).items()
    }
