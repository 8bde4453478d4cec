"""Committing a batch: its intake-log entry and its refusals, in one transaction.

The readings themselves stay in the log and in memory until a flush writes their chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fieldstation.domains.telemetry.exchanges import Exchange
from fieldstation.domains.telemetry.models import intake_batch, refusal
from fieldstation.domains.telemetry.ports import Appended, Columns, Detail, Kind, Outcome, Refusal
from fieldstation.domains.telemetry.store import chunks, exchanges, sealed
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.entries import decode_points, encode_entry
from fieldstation.domains.telemetry.store.outcomes import Fact, doubtful, judge
from fieldstation.domains.telemetry.store.points import (
    Key,
    Points,
    in_key_order,
    joined,
    key_order,
    points_of,
    runs,
)
from fieldstation.domains.telemetry.store.recent import (
    Recent,
    by_series,
    make_part,
    newest_in,
    stand_in,
)
from fieldstation.domains.telemetry.store.series import newest_in_chunks
from fieldstation.domains.telemetry.store.steps import (
    KEEP_FIRST,
    Insert,
    Query,
    Steps,
    as_json,
    insert_rows,
)

ENTRIES_PER_STATEMENT = 64

LOG_NAMES = ("id", "node_id", "seq", "committed_at", "accepted_total", "readings")
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
    refusals: Sequence[Refusal]
    begun: Sequence[Exchange] = ()
    ended: Sequence[Exchange] = ()

    @property
    def is_plain(self) -> bool:
        """Whether its log entry is all that is written."""
        return not (self.refusals or self.begun or self.ended)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a node's intake log ends."""

    seq: int = 0
    committed_us: int = 0
    accepted_total: int = 0


@dataclass(frozen=True, slots=True)
class Committing:
    """An append whose statements all succeeded; true once the transaction commits.

    ``kept`` are the accepted readings in key order, ``entry_id`` the number of their entry.
    """

    appended: Appended
    position: Position
    kept: Points
    entry_id: int


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


def catch_up(dialect: Dialect, recent: Recent) -> Steps[None]:
    """Take over the log entries that ``recent`` does not know: another node's, or one of our own
    whose commit was not answered.

    Cost: one search, and the entries that are new.
    """
    while True:
        rows = yield Query(
            dialect.finish(
                "SELECT id, readings FROM intake_batch WHERE id > $1 ORDER BY id LIMIT $2"
            ),
            (recent.last_id, ENTRIES_PER_STATEMENT),
        )
        for entry_id, packed in rows:
            points = decode_points(packed)
            recent.add(points.take(key_order(points)), entry_id)
        if len(rows) < ENTRIES_PER_STATEMENT:
            return


def record(
    dialect: Dialect,
    batch: Batch,
    *,
    node_id: str,
    position: Position,
    now_us: int,
    recent: Recent,
) -> Steps[Committing]:
    """Write a batch; the caller holds the transaction, has caught up, and remembers the result once
    it commits.

    Cost: one statement for the log entry, and a search in the chunks for each reading that is not
    newer than its series' newest and not in memory. ``committed_us`` never goes backwards within a
    node.
    """
    arrived = points_of(batch.readings)
    order = key_order(arrived)
    kept = arrived.take(order)
    outcomes = None
    if len(arrived):
        yield from _look_up_newest(dialect, kept, recent)
        doubts = doubtful(kept, order, recent.newest)
        standing = (yield from _standing(dialect, batch.readings, doubts, recent)) if doubts else {}
        outcomes = judge(batch.readings, doubts, standing)
    if outcomes is not None:
        accepted = np.frombuffer(outcomes, np.uint8) == Outcome.ACCEPTED
        kept = arrived.take(order[accepted[order]])
        arrived = arrived.take(accepted)
    if batch.readings.details:
        details = _details_of(batch.readings, outcomes)
        arrived, kept = replace(arrived, details=details), replace(kept, details=details)
    committed_us = max(now_us, position.committed_us)
    if batch.refusals:
        yield _refusals(batch.refusals)
    yield from exchanges.change(dialect, batch.begun, batch.ended)
    if len(arrived):
        position = Position(position.seq + 1, committed_us, position.accepted_total + len(arrived))
        row = (
            recent.last_id + 1,
            node_id,
            position.seq,
            committed_us,
            position.accepted_total,
            encode_entry(arrived),
        )
        yield insert_rows(intake_batch, LOG_NAMES, [row])
    return Committing(
        Appended(position.seq, committed_us, outcomes), position, kept, recent.last_id + 1
    )


def _look_up_newest(dialect: Dialect, ordered: Points, recent: Recent) -> Steps[None]:
    """Find the newest instant of each series that is written to for the first time since the start.

    Cost: one search for each of them.
    """
    ids = ordered.series_id[runs(ordered.series_id)[:-1]].tolist()
    unknown = [series_id for series_id in ids if series_id not in recent.newest]
    if unknown:
        parts = recent.parts()
        stored = yield from newest_in_chunks(dialect, unknown)
        for series_id in unknown:
            recent.newest[series_id] = max(stored.get(series_id, 0), newest_in(parts, series_id))


def _details_of(readings: Columns, outcomes: bytes | None) -> dict[Key, Detail]:
    """Return the details of the accepted readings."""
    return {
        (readings.series_id[at], readings.ts_us[at]): detail
        for at, detail in readings.details.items()
        if outcomes is None or outcomes[at] == Outcome.ACCEPTED
    }


def _standing(
    dialect: Dialect, readings: Columns, doubts: Sequence[int], recent: Recent
) -> Steps[dict[Key, Fact]]:
    """Find what stands at the keys in doubt: in memory, in the chunks, among what is sealed."""
    keys = {(readings.series_id[at], readings.ts_us[at]) for at in doubts}
    found = recent.standing(keys)
    missing = [key for key in keys if key not in found]
    if missing:
        in_chunks = yield from chunks.covering(dialect, missing)
        in_sealed = yield from sealed.covering(dialect, missing)
        stored = in_key_order(joined([in_chunks, in_sealed]))
        facts = stand_in(make_part(stored, 0), by_series(missing))
        texts = [key for key, known in facts.items() if known[1] == Kind.TEXT]
        if texts:
            for series_id, ts_us, text in (yield _texts(dialect, texts)):
                value, kind, _ = facts[series_id, ts_us]
                facts[series_id, ts_us] = (value, kind, text)
        found |= facts
    return found


def _texts(dialect: Dialect, keys: Sequence[Key]) -> Query:
    condition = f"d.hour = k.ts / {US_PER_HOUR} AND d.series_id = k.series_id AND d.ts = k.ts"
    source = dialect.rows("$1", "k", series_id="bigint", ts="bigint")
    return Query(
        dialect.finish(
            f"SELECT k.series_id, k.ts, d.text FROM {source}"
            f" {dialect.seek('reading_detail', 'd', condition)}"
        ),
        (as_json(keys),),
    )


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
