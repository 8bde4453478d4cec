"""What of a period rollups tell exactly, and what has to be read.

Rollups stand for whole spans (hours or days) before the watermark of which no hour is marked as
stale and nothing lies in memory. Whoever asks took the parts from memory before; a reading that is
in none of them is in a chunk whose commit marked its hour, or was counted by the rollup.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fieldstation.domains.telemetry.store import rollups
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
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


class Region(NamedTuple):
    """Readings that have to be read; regions of one series never overlap."""

    series_ids: Sequence[int]
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What rollups tell of a period, by hours and by days that do not overlap, the rest of it, and
    the sketches of the days by ``(series_id, day)``."""

    lines: Partials
    regions: list[Region]
    sketches: dict[SeriesHour, Sketch]


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
    edges if those are, and say what is left.

    Cost: one search for the watermark, then one statement: per series and stretch a search and a
    row for each day (by hours) or each 32 days (by days).
    """
    series_ids, start_us, end_us = everything
    before = yield from rollups.watermark(dialect)
    told = stretches(start_us, end_us, before, widths)
    if not told:
        return Coverage(nothing(), [everything], {})
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
        if stretch.first <= hour < stretch.behind
    }
    lines = joined_partials([_lines(stored.blocks, stretch, open_spans) for stretch in told])
    regions = [
        Region(series_ids, start_us, first * US_PER_HOUR),
        *_open_regions(open_spans),
        Region(series_ids, behind * US_PER_HOUR, end_us),
    ]
    return Coverage(
        lines,
        [region for region in regions if region.start_us < region.end_us],
        _sketches_by_day(stored.sketches),
    )


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
