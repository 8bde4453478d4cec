"""Computing rollups anew from chunks, for the hours that are marked as stale."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from fieldstation.domains.telemetry.store import rollups
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.partials import (
    Partials,
    joined_partials,
    merged,
    summarised,
)
from fieldstation.domains.telemetry.store.points import runs
from fieldstation.domains.telemetry.store.rollup_blocks import (
    DAY,
    EMPTY,
    HOUR,
    SLOTS,
    BlockKey,
    pack_blocks,
    unpack_blocks,
)
from fieldstation.domains.telemetry.store.rollups import SeriesHour
from fieldstation.domains.telemetry.store.sketches import (
    Sketch,
    added,
    pack_sketches,
    sketched,
    unpack_sketches,
)
from fieldstation.domains.telemetry.store.steps import Row, Steps
from fieldstation.domains.telemetry.store.walks import Walk


@dataclass(slots=True)
class Fresh:
    """What was computed anew: the lines of each width, the spans that they replace as
    ``(series_id, first hour, hour behind the last)``, and a sketch per series and day."""

    lines: defaultdict[int, list[Partials]] = field(default_factory=lambda: defaultdict(list))
    replaced: defaultdict[int, list[tuple[int, int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    sketches: dict[SeriesHour, Sketch] = field(default_factory=dict)
    """Keyed by the day in place of an hour."""


def recomputed(
    dialect: Dialect, marks: Sequence[SeriesHour], before: int, floors: Mapping[int, int]
) -> Steps[list[Row]]:
    """Return the rows of ``rollups.ROLLUP_NAMES`` that bring the marked hours up to date.

    Days that lie as a whole before the watermark ``before`` are computed as a whole, with their
    day's line and sketch; of others only the stretch from the first to the last marked hour.
    Nothing before a series' floor is computed: the readings of then are gone.

    Cost: reads those hours' chunks of the marked series, half a million readings at a time.
    """
    by_day: defaultdict[int, list[SeriesHour]] = defaultdict(list)
    for mark in marks:
        if mark.hour >= floors.get(mark.series_id, 0):
            by_day[mark.hour // DAY].append(mark)
    fresh = Fresh()
    for day, own in sorted(by_day.items()):
        ids = sorted({mark.series_id for mark in own})
        if (day + 1) * DAY <= before:
            yield from _whole_day(dialect, ids, day, fresh)
        else:
            hours = [mark.hour for mark in own]
            yield from _hours(dialect, ids, (min(hours), max(hours) + 1), fresh)
    return (yield from _rows(dialect, fresh))


def _whole_day(dialect: Dialect, ids: Sequence[int], day: int, fresh: Fresh) -> Steps[None]:
    begun: defaultdict[int, list[Sketch]] = defaultdict(list)
    found = yield from _hours(dialect, ids, (day * DAY, (day + 1) * DAY), fresh, begun)
    fresh.lines[DAY].append(merged(found, DAY * US_PER_HOUR))
    fresh.replaced[DAY] += [(series_id, day * DAY, (day + 1) * DAY) for series_id in ids]
    for series_id, parts in begun.items():
        fresh.sketches[SeriesHour(series_id, day)] = added(parts)


def _hours(
    dialect: Dialect,
    ids: Sequence[int],
    hours: tuple[int, int],
    fresh: Fresh,
    begun: "defaultdict[int, list[Sketch]] | None" = None,
) -> Steps[Partials]:
    """Add the lines of the hours ``[first, behind)``; sketch their values where wanted."""
    first, behind = hours
    walk = Walk(ids, first * US_PER_HOUR, behind * US_PER_HOUR, anomaly=None)
    found: list[Partials] = []
    while (block := (yield from walk.next_block(dialect, ()))) is not None:
        found.append(summarised(block, US_PER_HOUR))
        if begun is not None:
            bounds = runs(block.series_id).tolist()
            for low, high in pairwise(bounds):
                begun[int(block.series_id[low])].append(sketched(block.value[low:high]))
    lines = joined_partials(found)
    fresh.lines[HOUR].append(lines)
    fresh.replaced[HOUR] += [(series_id, first, behind) for series_id in ids]
    return lines


def _rows(dialect: Dialect, fresh: Fresh) -> Steps[list[Row]]:
    """Put what is fresh into the blocks that stand, in place of what it replaces."""
    keys = sorted(
        {
            BlockKey(series_id, hours, first // (hours * SLOTS[hours]))
            for hours, spans in fresh.replaced.items()
            for series_id, first, _ in spans
        }
    )
    standing = yield from rollups.blocks_of(dialect, keys)
    data: dict[BlockKey, bytes] = dict.fromkeys(keys, EMPTY)
    for hours in SLOTS:
        own = [(BlockKey(*row[:3]), row[3]) for row in standing if row[1] == hours]
        kept = _without(unpack_blocks(own, hours), fresh.replaced[hours])
        lines = joined_partials([kept, *fresh.lines[hours]])
        lines = lines.take(np.lexsort((lines.start_us, lines.series_id)))
        data.update(pack_blocks(lines, hours))
    sketches = _sketches(standing, fresh)
    return [(*key, packed, sketches.get(key)) for key, packed in data.items()]


def _without(lines: Partials, spans: Iterable[tuple[int, int, int]]) -> Partials:
    gone = np.zeros(len(lines), np.bool_)
    hour = lines.start_us // US_PER_HOUR
    for series_id, first, behind in spans:
        gone |= (lines.series_id == series_id) & (hour >= first) & (hour < behind)
    return lines.take(~gone)


def _sketches(standing: Sequence[Row], fresh: Fresh) -> dict[BlockKey, bytes]:
    slots = SLOTS[DAY]
    kept: defaultdict[BlockKey, dict[int, Sketch]] = defaultdict(dict)
    for *key, _, packed in standing:
        if packed:
            kept[BlockKey(*key)] = unpack_sketches(packed)
    for series_id, first, _ in fresh.replaced[DAY]:
        day = first // DAY
        own = kept[BlockKey(series_id, DAY, day // slots)]
        own.pop(day % slots, None)
        sketch = fresh.sketches.get(SeriesHour(series_id, day))
        if sketch is not None:
            own[day % slots] = sketch
    return {
        key: pack_sketches(sorted(own), [own[slot] for slot in sorted(own)])
        for key, own in kept.items()
        if own
    }
