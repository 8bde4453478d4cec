"""Bringing together a period's readings: what is in memory first, then what is in chunks, then what
is sealed.

In that order nothing can be missed: a flush drops from memory only what its committed chunks hold,
and sealing moves chunks in one transaction.
"""

from collections.abc import Sequence

import numpy as np

from fieldstation.domains.telemetry.store import chunks, sealed
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.points import Points, in_key_order, joined
from fieldstation.domains.telemetry.store.recent import Part, between
from fieldstation.domains.telemetry.store.steps import Query, Steps, as_json

END_US_MAX = US_PER_HOUR * (2**31 - 1)


def bounded(start_us: int, end_us: int) -> tuple[int, int]:
    """Cut a period to the instants whose hours fit their column; no reading lies outside."""
    return max(start_us, 0), min(end_us, END_US_MAX)


def gather(
    dialect: Dialect,
    parts: Sequence[Part],
    series_ids: Sequence[int],
    *,
    start_us: int,
    end_us: int,
) -> Steps[Points]:
    """Return the readings of a period in key order, each once; ``parts`` were taken before.

    Cost: as ``chunks.read`` and ``sealed.read`` say, and sorting what is found.
    """
    pieces = [piece for part in parts for piece in between(part, series_ids, start_us, end_us)]
    for read in (chunks.read, sealed.read):
        stored = yield from read(dialect, series_ids, start_us=start_us, end_us=end_us)
        pieces.append(stored.take((stored.ts_us >= start_us) & (stored.ts_us < end_us)))
    return in_key_order(joined(pieces))


def hours_with_readings(
    dialect: Dialect,
    parts: Sequence[Part],
    series_ids: Sequence[int],
    *,
    start_us: int,
    end_us: int,
) -> Steps[list[int]]:
    """Return the hours of a period in which any of the series has readings or may have sealed ones.

    Cost: one entry of an index per series and hour in chunks, and one per sealed chunk.
    """
    pieces = [piece for part in parts for piece in between(part, series_ids, start_us, end_us)]
    hours = {hour for piece in pieces for hour in np.unique(piece.ts_us // US_PER_HOUR).tolist()}
    ids = dialect.rows("$1", "k", series_id="bigint")
    own = dialect.seek("series_hour", "h", "h.series_id = k.series_id AND h.hour BETWEEN $2 AND $3")
    rows = yield Query(
        dialect.finish(f"SELECT DISTINCT h.hour FROM {ids} {own}"),
        (as_json(list(series_ids)), start_us // US_PER_HOUR, (end_us - 1) // US_PER_HOUR),
    )
    hours.update(hour for (hour,) in rows)
    hours |= yield from sealed.hours(dialect, series_ids, start_us=start_us, end_us=end_us)
    return sorted(hours)
