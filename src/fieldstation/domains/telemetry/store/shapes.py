"""Shapes: so few readings of a series that a line through them looks like one through all of them
(MinMaxLTTB; Van Der Donckt and others, 2023), chosen among its hours' extremes where it has many.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from tsdownsample import MinMaxLTTBDownsampler

from fieldstation.domains.telemetry.ports import SeriesRow
from fieldstation.domains.telemetry.store.coverage import (
    Coverage,
    Region,
    covered,
    settled,
    unaided,
)
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.gathering import bounded
from fieldstation.domains.telemetry.store.partials import (
    Partials,
    joined_partials,
    summarised,
)
from fieldstation.domains.telemetry.store.points import Points, in_key_order, joined
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.rollup_blocks import HOUR
from fieldstation.domains.telemetry.store.steps import Steps
from fieldstation.domains.telemetry.store.walks import Walk
from fieldstation.domains.telemetry.summaries import Shape

READ_READINGS_MAX = 2_000_000
HELD_READINGS_MAX = 1_000_000
EXTREMES_PER_SPAN = 4
SPANS_PER_POINT = 4


def shapes(
    dialect: Dialect,
    parts: Sequence[Part],
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    points_max: int,
    anomaly: bool | None = None,
) -> Steps[list[Shape]]:
    """Return at most ``points_max`` readings of each series that has numbers in the period, its
    smallest and largest among them.

    Cost, series by series: with rollups of at least ``points_max`` hours, or of a quarter as many
    that hold more than two million readings, the first, last, smallest and largest reading of each
    hour are looked at: a row a day, and the chunks of hours without rollups. Else, and always with
    ``anomaly``, every chunk of the period is read, and a million readings held; before the series'
    floor it is the hours all the same.
    """
    start_us, end_us = bounded(start_us, end_us)
    found: list[Shape] = []
    for row in series:
        everything = Region([row.id], start_us, end_us)
        work = partial(_candidates, dialect, parts, everything, points_max, anomaly)
        candidates = yield from settled(dialect, [row.id], work)
        if len(candidates):
            few = candidates.take(chosen(candidates, points_max))
            found.append(Shape(row.id, few.ts_us.tolist(), few.value.tolist()))
    return found


def _candidates(
    dialect: Dialect,
    parts: Sequence[Part],
    everything: Region,
    points_max: int,
    anomaly: bool | None,
) -> Steps[tuple[Points, Coverage]]:
    """Return what of one series is to be chosen from, in order."""
    coverage = unaided(everything)
    if anomaly is None:
        coverage = yield from covered(dialect, parts, everything, widths=(HOUR,))
    if has_many_hours(coverage.lines, points_max):
        return (yield from _extremes_of_hours(dialect, parts, coverage)), coverage
    ((series_id,), start_us, end_us) = everything
    floor_us = coverage.floor_us(series_id)
    told = extremes(coverage.lines.take(coverage.lines.start_us < floor_us))
    kept = everything._replace(start_us=max(start_us, floor_us))
    span_us = (end_us - start_us) // (points_max * SPANS_PER_POINT) + 1
    readings = yield from _readings(dialect, parts, kept, span_us, anomaly)
    is_certain = coverage.is_certain and not len(coverage.lines)
    return joined([told, readings]), replace(coverage, is_certain=is_certain)


def has_many_hours(lines: Partials, points_max: int) -> bool:
    """Tell whether the extremes of these hours are enough to choose from, and cheaper."""
    if len(lines) >= points_max:
        return True
    readings = int(lines.count.sum())
    return readings > READ_READINGS_MAX and EXTREMES_PER_SPAN * len(lines) >= points_max


def _extremes_of_hours(
    dialect: Dialect, parts: Sequence[Part], coverage: Coverage
) -> Steps[Points]:
    pieces = [coverage.lines]
    for region in coverage.regions:
        walk = Walk(*region, anomaly=None)
        while (block := (yield from walk.next_block(dialect, parts))) is not None:
            pieces.append(summarised(block, US_PER_HOUR))
    return extremes(joined_partials(pieces))


def _readings(
    dialect: Dialect, parts: Sequence[Part], region: Region, span_us: int, anomaly: bool | None
) -> Steps[Points]:
    """Read a region; of more readings than may be held only the extremes of spans are kept."""
    held: list[Points] = []
    walk = Walk(*region, anomaly=anomaly)
    while (block := (yield from walk.next_block(dialect, parts))) is not None:
        held.append(block)
        if sum(map(len, held)) > HELD_READINGS_MAX:
            held = [extremes(summarised(joined(held), span_us))]
    return joined(held)


def extremes(lines: Partials) -> Points:
    """Return the first, last, smallest and largest reading of each line, in order, each once."""
    instants = (lines.first_us, lines.minimum_us, lines.maximum_us, lines.last_us)
    values = (lines.first, lines.minimum, lines.maximum, lines.last)
    ts_us = np.concatenate(instants)
    return in_key_order(
        Points(
            np.tile(lines.series_id, EXTREMES_PER_SPAN),
            ts_us,
            np.concatenate(values),
            np.zeros_like(ts_us),
        )
    )


def chosen(candidates: Points, points_max: int) -> "np.ndarray":
    """Return the positions of at most ``points_max`` readings of one series, in order."""
    if len(candidates) <= points_max:
        return np.arange(len(candidates))
    value = candidates.value
    # The algorithm may leave out the extremes of the whole; whoever looks at a chart must not.
    kept = [int(value.argmin()), int(value.argmax())]
    # Areas are products: of the largest doubles they would be infinite.
    scaled = value / max(1.0, float(np.abs(value).max()))
    picked = MinMaxLTTBDownsampler().downsample(
        np.ascontiguousarray(candidates.ts_us),
        np.ascontiguousarray(scaled),
        n_out=points_max - len(kept),
    )
    return np.union1d(picked.astype(np.int64), kept)
