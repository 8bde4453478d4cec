"""Reading and trimming the intake log.

The newest entry of each node is never trimmed: it carries the numbering on. Nor is one whose
readings are not yet in chunks.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fieldstation.domains.telemetry.ports import LoggedBatch
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.entries import decode_entry
from fieldstation.domains.telemetry.store.flushing import FLUSHED
from fieldstation.domains.telemetry.store.steps import Query, Steps

# Few, because decoding them keeps the event loop on PostgreSQL.
ENTRIES_PER_STATEMENT = 16
SEQ_MAX = (1 << 63) - 1


class PackedBatch(NamedTuple):
    """A log entry as it is stored."""

    node_id: str
    seq: int
    committed_us: int
    packed: bytes

    def unpack(self) -> LoggedBatch:
        return LoggedBatch(self.node_id, self.seq, self.committed_us, decode_entry(self.packed))


def batches_after(
    dialect: Dialect,
    cursor: Mapping[str, int],
    *,
    batches_max: int,
    until: Mapping[str, int] | None,
) -> Steps[list[LoggedBatch]]:
    """Read at most ``batches_max`` entries behind the cursor, and none behind ``until``.

    One range of the primary key per node.
    """
    batches: list[LoggedBatch] = []
    for node_id in (yield from _nodes()):
        seq = cursor.get(node_id, 0)
        last = SEQ_MAX if until is None else until.get(node_id, 0)
        more = seq < last
        while more and len(batches) < batches_max:
            limit = min(ENTRIES_PER_STATEMENT, batches_max - len(batches))
            block = yield from _entries_after(dialect, node_id, seq=seq, last=last, limit=limit)
            batches += block
            more = len(block) == limit
            seq = block[-1].seq if block else seq
    return batches


def newest_id() -> Steps[int]:
    """Read the number of the newest entry of all nodes."""
    rows = yield Query("SELECT COALESCE(MAX(id), 0) FROM intake_batch")
    return int(rows[0][0])


def of_others(
    dialect: Dialect, *, node_id: str, after_id: int
) -> Steps[tuple[int, list[PackedBatch]]]:
    """Read the next entries of all nodes: where they end, and those that other nodes wrote."""
    rows = yield Query(
        dialect.finish(
            "SELECT id, node_id, seq, committed_at,"
            " CASE WHEN node_id = $2 THEN NULL ELSE readings END"
            " FROM intake_batch WHERE id > $1 ORDER BY id LIMIT $3"
        ),
        (after_id, node_id, ENTRIES_PER_STATEMENT),
    )
    if not rows:
        return after_id, []
    return rows[-1][0], [PackedBatch(*row[1:]) for row in rows if row[1] != node_id]


def bounds(dialect: Dialect) -> Steps[dict[str, tuple[int, int]]]:
    """Read each node's oldest and newest number: two searches per node."""
    found: dict[str, tuple[int, int]] = {}
    for node_id in (yield from _nodes()):
        rows = yield Query(
            dialect.finish(
                "SELECT (SELECT MIN(seq) FROM intake_batch WHERE node_id = $1),"
                " (SELECT MAX(seq) FROM intake_batch WHERE node_id = $1)"
            ),
            (node_id,),
        )
        found[node_id] = tuple(rows[0])
    return found


def trim(dialect: Dialect, *, before_us: int, batches_max: int) -> Steps[int]:
    """Delete old entries, oldest first.

    Cost: looks at the oldest ``batches_max`` entries of each node and no further.
    ``committed_at`` never decreases within a node, so what goes is always the beginning of its log.
    """
    gone = 0
    for node_id in (yield from _nodes()):
        rows = yield Query(
            dialect.finish(
                "DELETE FROM intake_batch WHERE node_id = $1 AND seq IN (SELECT o.seq FROM"
                " (SELECT seq, committed_at, id FROM intake_batch WHERE node_id = $1 AND seq <"
                " (SELECT MAX(seq) FROM intake_batch WHERE node_id = $1)"
                " ORDER BY seq LIMIT $3) AS o WHERE o.committed_at < $2 AND o.id <="
                " (SELECT COALESCE(MAX(amount), 0) FROM tally WHERE name = $4)) RETURNING seq"
            ),
            (node_id, before_us, batches_max - gone, FLUSHED),
        )
        gone += len(rows)
    return gone


def _entries_after(
    dialect: Dialect, node_id: str, *, seq: int, last: int, limit: int
) -> Steps[list[LoggedBatch]]:
    rows = yield Query(
        dialect.finish(
            "SELECT seq, committed_at, readings FROM intake_batch"
            " WHERE node_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4"
        ),
        (node_id, seq, last, limit),
    )
    return [
        LoggedBatch(node_id=node_id, seq=at, committed_us=at_us, readings=decode_entry(packed))
        for at, at_us, packed in rows
    ]


def _nodes() -> Steps[list[str]]:
    """List the nodes by hopping from one to the next in the primary key."""
    rows = yield Query(
        "WITH RECURSIVE node(id) AS (SELECT MIN(node_id) FROM intake_batch UNION ALL"
        " SELECT (SELECT MIN(b.node_id) FROM intake_batch AS b WHERE b.node_id > node.id)"
        " FROM node WHERE node.id IS NOT NULL) SELECT id FROM node WHERE id IS NOT NULL"
    )
    return [node_id for (node_id,) in rows]
