"""Committing a batch: its readings, its intake-log entry and its refusals in one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fieldstation.domains.telemetry.models import (
    intake_batch,
    reading,
    reading_detail,
    refusal,
    series_hour,
)
from fieldstation.domains.telemetry.ports import (
    US_PER_MINUTE,
    Appended,
    Columns,
    Refusal,
)
from fieldstation.domains.telemetry.store.dialect import MINUTES_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.entries import encode_entry
from fieldstation.domains.telemetry.store.outcomes import (
    Fact,
    Key,
    accepted,
    fact,
    judge,
    keys_at,
)
from fieldstation.domains.telemetry.store.steps import (
    KEEP_FIRST,
    Insert,
    Query,
    Steps,
    as_json,
    insert_rows,
)

# How often an append that meets other nodes' keys looks again before it gives up.
ATTEMPTS_MAX = 3

US_PER_HOUR = US_PER_MINUTE * MINUTES_PER_HOUR

READING_NAMES = ("minute", "series_id", "ts", "value", "flags")
DETAIL_NAMES = ("minute", "series_id", "ts", "text", "metadata", "score")
REFUSAL_NAMES = (
    "id",
    "organization_id",
    "device_id",
    "received_at",
    "topic",
    "payload",
    "error",
    "detail",
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one append was asked to commit."""

    readings: Columns
    suspects: Sequence[int]
    refusals: Sequence[Refusal]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a node's intake log ends."""

    seq: int = 0
    committed_us: int = 0
    accepted_total: int = 0


@dataclass(frozen=True, slots=True)
class Committing:
    """An append whose statements all succeeded; true once the transaction commits."""

    appended: Appended
    position: Position
    hours: frozenset[tuple[int, int]]


class KnownHours:
    """Which rows of ``series_hour`` surely stand, for the newest few hours that were written to.

    Forgetting one costs an insert that changes nothing. Holds at most ``hours_max`` entries per
    series.
    """

    def __init__(self, *, hours_max: int = 4) -> None:
        self._series_by_hour: dict[int, set[int]] = {}
        self._hours_max = hours_max

    def missing(self, readings: Columns) -> set[tuple[int, int]]:
        """Return the ``(series_id, hour)`` of these readings that may not stand yet."""
        hour = min(readings.ts_us) // US_PER_HOUR
        if hour == max(readings.ts_us) // US_PER_HOUR:
            fresh = set(readings.series_id).difference(self._series_by_hour.get(hour, ()))
            return {(series_id, hour) for series_id in fresh}
        hours = (instant // US_PER_HOUR for instant in readings.ts_us)
        return {
            (series_id, hour)
            for series_id, hour in set(zip(readings.series_id, hours, strict=True))
            if series_id not in self._series_by_hour.get(hour, ())
        }

    def remember(self, committed: Iterable[tuple[int, int]]) -> None:
        """Note rows that are committed."""
        for series_id, hour in committed:
            self._series_by_hour.setdefault(hour, set()).add(series_id)
        while len(self._series_by_hour) > self._hours_max:
            del self._series_by_hour[min(self._series_by_hour)]


def end_of_log(dialect: Dialect, node_id: str) -> Steps[Position]:
    """Find where a node's log ends: one search in the primary key."""
    rows = yield Query(
        dialect.finish(
            "SELECT seq, committed_at, accepted_total FROM intake_batch"
            " WHERE node_id = $1 ORDER BY seq DESC LIMIT 1"
        ),
        (node_id,),
    )
    return Position(*rows[0]) if rows else Position()


def record(
    dialect: Dialect,
    batch: Batch,
    *,
    node_id: str,
    position: Position,
    now_us: int,
    known: KnownHours,
) -> Steps[Committing]:
    """Write a batch; the caller holds the transaction and remembers the result once it commits.

    Cost: one search per suspect, then one statement for the readings, one for the log entry and,
    once an hour for each series, one for ``series_hour``. ``committed_us`` never goes backwards
    within a node.
    """
    suspects = keys_at(batch.readings, batch.suspects)
    standing = (yield from _standing(dialect, suspects)) if suspects else {}
    outcomes = judge(batch.readings, suspects, standing)
    kept = accepted(batch.readings, outcomes)
    committed_us = max(now_us, position.committed_us)
    hours: frozenset[tuple[int, int]] = frozenset()
    if batch.refusals:
        yield _refusals(batch.refusals)
    if len(kept):
        position = Position(position.seq + 1, committed_us, position.accepted_total + len(kept))
        hours = frozenset(known.missing(kept))
        yield from _keep(kept, hours)
        yield _log(node_id, position, kept)
    return Committing(Appended(position.seq, committed_us, outcomes), position, hours)


def _standing(dialect: Dialect, keys: Iterable[Key]) -> Steps[dict[Key, Fact]]:
    found = dialect.seek(
        "reading",
        "r",
        f"r.minute = k.ts / {US_PER_MINUTE} AND r.series_id = k.series_id AND r.ts = k.ts",
    )
    rows = yield Query(
        dialect.finish(
            "SELECT r.series_id, r.ts, r.value, r.flags, d.text FROM "
            + dialect.rows("$1", "k", series_id="bigint", ts="bigint")
            + f" {found} LEFT JOIN reading_detail AS d"
            " ON d.minute = r.minute AND d.series_id = r.series_id AND d.ts = r.ts"
        ),
        (as_json(list(keys)),),
    )
    return {(series_id, ts): fact(value, flags, text) for series_id, ts, value, flags, text in rows}


def _keep(kept: Columns, hours: Iterable[tuple[int, int]]) -> Steps[None]:
    if rows := sorted(hours):
        # Sorted, so that two nodes never wait for each other crosswise.
        yield insert_rows(series_hour, ("series_id", "hour"), rows, on_conflict=KEEP_FIRST)
    minutes = [instant // US_PER_MINUTE for instant in kept.ts_us]
    yield Insert(
        reading, READING_NAMES, (minutes, kept.series_id, kept.ts_us, kept.value, kept.flags)
    )
    if kept.details:
        yield insert_rows(
            reading_detail,
            DETAIL_NAMES,
            [
                (minutes[at], kept.series_id[at], kept.ts_us[at], d.text, d.metadata, d.score)
                for at, d in kept.details.items()
            ],
        )


def _log(node_id: str, position: Position, kept: Columns) -> Insert:
    row = (
        node_id,
        position.seq,
        position.committed_us,
        position.accepted_total,
        encode_entry(kept),
    )
    names = ("node_id", "seq", "committed_at", "accepted_total", "readings")
    return insert_rows(intake_batch, names, [row])


def _refusals(refusals: Sequence[Refusal]) -> Insert:
    rows = [
        (
            r.id,
            r.organization_id,
            r.device_id,
            r.received_us,
            r.topic,
            r.payload,
            r.error,
            r.detail,
        )
        for r in refusals
    ]
    return insert_rows(refusal, REFUSAL_NAMES, rows, on_conflict=KEEP_FIRST)
