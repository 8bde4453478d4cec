"""What becomes of each reading of a batch, given what stands in the store."""

from collections.abc import Mapping, Sequence

import numpy as np

from fieldstation.domains.telemetry.ports import KIND_MASK, Columns, Outcome
from fieldstation.domains.telemetry.store.points import Integers, Key, Points, integers, runs

Fact = tuple[float, int, str | None]
"""Value, kind and text: what two readings with one key must share to be the same reading."""


def fact(value: float, flags: int, text: str | None) -> Fact:
    return value, flags & KIND_MASK, text


def doubtful(ordered: Points, order: Integers, newest: Mapping[int, int]) -> list[int]:
    """Return the positions, by arrival, of readings that may not be the first with their key.

    ``ordered`` is the batch in key order, ``order`` the position each came from. In doubt are those
    that are not newer than their series' newest, and keys that stand in the batch twice.
    """
    bounds = runs(ordered.series_id)
    ids = ordered.series_id[bounds[:-1]].tolist()
    known = integers([newest[series_id] for series_id in ids])
    doubt = ordered.ts_us <= np.repeat(known, np.diff(bounds))
    same = (ordered.ts_us[1:] == ordered.ts_us[:-1]) & (
        ordered.series_id[1:] == ordered.series_id[:-1]
    )
    doubt[1:] |= same
    doubt[:-1] |= same
    return sorted(order[doubt].tolist())


def judge(readings: Columns, doubts: Sequence[int], standing: Mapping[Key, Fact]) -> bytes | None:
    """Return an ``Outcome`` per reading, ``None`` when all are accepted; the first stands."""
    stands = dict(standing)
    outcomes = bytearray(len(readings))
    for at in doubts:
        detail = readings.details.get(at)
        arrived = fact(readings.value[at], readings.flags[at], detail.text if detail else None)
        first = stands.setdefault((readings.series_id[at], readings.ts_us[at]), arrived)
        if first is not arrived:
            outcomes[at] = Outcome.DUPLICATE if first == arrived else Outcome.CONFLICT
    return bytes(outcomes) if any(outcomes) else None
