"""Partial results: what the readings of one series in one span of time come to, as numpy columns.

They add up: those of shorter spans make those of a longer one without the readings.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import inf
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fieldstation.domains.telemetry.store.points import Floats, Integers, Points, runs

# Sums of larger values could leave the range of a double; they are infinite instead.
SUMMED_MAX = 1e300
SQUARED_MAX = 1e140
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Partials:
    """One line per series and span; ``start_us`` is where the span begins.

    ``deviations`` is the sum of squared deviations from the mean: unlike a sum of squares it keeps
    its digits where values are large and close together. ``minimum_us`` and ``maximum_us`` are the
    first instants at which the extremes were read. ``total`` and ``deviations`` are infinite when a
    value exceeds 1e300 or 1e140.
    """

    series_id: Integers
    start_us: Integers
    count: Integers
    minimum_us: Integers
    maximum_us: Integers
    first_us: Integers
    last_us: Integers
    total: Floats
    deviations: Floats
    minimum: Floats
    maximum: Floats
    first: Floats
    last: Floats

    def __len__(self) -> int:
        return len(self.start_us)

    def take(self, chosen: "NDArray[np.integer] | NDArray[np.bool_]") -> "Partials":
        """Return the lines at these positions."""
        return Partials(*(getattr(self, name)[chosen] for name in NAMES))


NAMES = tuple(column.name for column in fields(Partials))
INTEGERS = NAMES[: NAMES.index("total")]


def nothing() -> Partials:
    integers, floats = np.empty(0, np.int64), np.empty(0, np.float64)
    columns = [integers if name in INTEGERS else floats for name in NAMES]
    return Partials(*cast("list[Any]", columns))


def joined_partials(pieces: Iterable[Partials]) -> Partials:
    """Return the lines of all pieces, one piece behind the other."""
    whole = list(pieces)
    if len(whole) == 1:
        return whole[0]
    if not whole:
        return nothing()
    return Partials(*(np.concatenate([getattr(one, name) for one in whole]) for name in NAMES))


def summarised(points: Points, width_us: int) -> Partials:
    """Sum up readings in key order, none of them a text, by spans aligned to the epoch."""
    begins = points.ts_us - points.ts_us % width_us
    bounds = runs(points.series_id, begins)
    first, last, count = bounds[:-1], bounds[1:] - 1, np.diff(bounds)
    value, ts_us = points.value, points.ts_us
    minimum, maximum = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(value, first)
        deviations = np.add.reduceat(np.square(value - np.repeat(total / count, count)), first)
    return _bounded(
        Partials(
            series_id=points.series_id[first],
            start_us=begins[first],
            count=count.astype(np.int64),
            minimum_us=_first_instants(value, minimum, ts_us, first, count),
            maximum_us=_first_instants(value, maximum, ts_us, first, count),
            first_us=ts_us[first],
            last_us=ts_us[last],
            total=total,
            deviations=deviations,
            minimum=minimum,
            maximum=maximum,
            first=value[first],
            last=value[last],
        )
    )


def merged(partials: Partials, width_us: int) -> Partials:
    """Add lines of spans that do not overlap up to longer spans, ordered by series and start.

    Deviations are joined by the method of Chan et al. (1983).
    """
    if not len(partials):
        return partials
    partials = partials.take(np.lexsort((partials.first_us, partials.series_id)))
    begins = partials.start_us - partials.start_us % width_us
    bounds = runs(partials.series_id, begins)
    first, last, lines = bounds[:-1], bounds[1:] - 1, np.diff(bounds)
    count = np.add.reduceat(partials.count, first)
    minimum = np.minimum.reduceat(partials.minimum, first)
    maximum = np.maximum.reduceat(partials.maximum, first)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(partials.total, first)
        apart = partials.total / partials.count - np.repeat(total / count, lines)
        deviations = np.add.reduceat(partials.deviations + partials.count * apart * apart, first)
    return _bounded(
        Partials(
            series_id=partials.series_id[first],
            start_us=begins[first],
            count=count,
            minimum_us=_first_instants(
                partials.minimum, minimum, partials.minimum_us, first, lines
            ),
            maximum_us=_first_instants(
                partials.maximum, maximum, partials.maximum_us, first, lines
            ),
            first_us=partials.first_us[first],
            last_us=partials.last_us[last],
            total=total,
            deviations=deviations,
            minimum=minimum,
            maximum=maximum,
            first=partials.first[first],
            last=partials.last[last],
        )
    )


def _first_instants(
    values: Floats,
    extremes: Floats,
    instants: Integers,
    first: "NDArray[np.intp]",
    lengths: "NDArray[np.integer]",
) -> Integers:
    """Return, per run, the first instant at which the run's extreme stands."""
    reached = values == np.repeat(extremes, lengths)
    return np.minimum.reduceat(np.where(reached, instants, NEVER), first)


def _bounded(partials: Partials) -> Partials:
    """Make the sums infinite that could have left the range of a double."""
    largest = np.maximum(partials.maximum, -partials.minimum)
    partials.total[largest > SUMMED_MAX] = inf
    partials.deviations[largest > SQUARED_MAX] = inf
    return partials
