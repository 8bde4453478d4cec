"""What becomes of each reading of a batch, given what stands in the store."""

from collections.abc import Iterable, Mapping
from itertools import compress

from fieldstation.domains.telemetry.ports import (
    FLAG_DETAIL,
    KIND_MASK,
    Columns,
    Outcome,
)

Key = tuple[int, int]
Fact = tuple[float, int, str | None]
"""Value, kind and text: what two readings with one key must share to be the same reading."""


def fact(value: float, flags: int, text: str | None) -> Fact:
    return value, flags & KIND_MASK, text


def keys_at(readings: Columns, positions: Iterable[int]) -> set[Key]:
    return {(readings.series_id[at], readings.ts_us[at]) for at in positions}


def judge(readings: Columns, suspects: set[Key], standing: Mapping[Key, Fact]) -> bytes | None:
    """Return an ``Outcome`` per reading, ``None`` when all are accepted; the first stands."""
    stands = dict(standing)
    outcomes = bytearray(len(readings))
    for at, key in enumerate(zip(readings.series_id, readings.ts_us, strict=True)):
        if key not in suspects:
            continue
        detail = readings.details.get(at)
        arrived = fact(readings.value[at], readings.flags[at], detail.text if detail else None)
        first = stands.setdefault(key, arrived)
        if first is not arrived:
            outcomes[at] = Outcome.DUPLICATE if first == arrived else Outcome.CONFLICT
    return bytes(outcomes) if any(outcomes) else None


def accepted(readings: Columns, outcomes: bytes | None) -> Columns:
    """Return the accepted readings with their details flagged; the input stays as it is."""
    if outcomes is None:
        return flagged(readings, readings.details.keys())
    chosen = [outcome == Outcome.ACCEPTED for outcome in outcomes]
    kept = Columns(
        series_id=list(compress(readings.series_id, chosen)),
        ts_us=list(compress(readings.ts_us, chosen)),
        value=list(compress(readings.value, chosen)),
        flags=list(compress(readings.flags, chosen)),
    )
    if readings.details:
        places = compress(range(len(chosen)), chosen)
        kept.details = {
            to: readings.details[at] for to, at in enumerate(places) if at in readings.details
        }
    return flagged(kept, kept.details.keys())


def flagged(readings: Columns, positions: Iterable[int]) -> Columns:
    places = list(positions)
    if not places:
        return readings
    flags: list[int] = list(readings.flags)
    for at in places:
        flags[at] |= FLAG_DETAIL
    return Columns(
        series_id=readings.series_id,
        ts_us=readings.ts_us,
        value=readings.value,
        flags=flags,
        details=readings.details,
    )
