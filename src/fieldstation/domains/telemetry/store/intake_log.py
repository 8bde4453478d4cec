"""Reading and trimming the intake log.

The newest entry of each node is never trimmed: it carries the numbering on.
"""

from collections.abc import Mapping

from fieldstation.domains.telemetry.ports import LoggedBatch
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.entries import decode_entry
from fieldstation.domains.telemetry.store.steps import Query, Steps

# Few, because decoding them keeps the event loop on PostgreSQL.
ENTRIES_PER_STATEMENT = 16


def batches_after(
    dialect: Dialect, cursor: Mapping[str, int], *, batches_max: int
) -> Steps[list[LoggedBatch]]:
    """Read at most ``batches_max`` entries behind the cursor.

    One range of the primary key per node.
    """
    batches: list[LoggedBatch] = []
    for node_id in (yield from _nodes()):
        seq = cursor.get(node_id, 0)
        more = True
        while more and len(batches) < batches_max:
            limit = min(ENTRIES_PER_STATEMENT, batches_max - len(batches))
            block = yield from _entries_after(dialect, node_id, seq=seq, limit=limit)
            batches += block
            more = len(block) == limit
            seq = block[-1].seq if block else seq
    return batches


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
                " (SELECT seq, committed_at FROM intake_batch WHERE node_id = $1 AND seq <"
                " (SELECT MAX(seq) FROM intake_batch WHERE node_id = $1)"
                " ORDER BY seq LIMIT $3) AS o WHERE o.committed_at < $2) RETURNING seq"
            ),
            (node_id, before_us, batches_max - gone),
        )
        gone += len(rows)
    return gone


def _entries_after(
    dialect: Dialect, node_id: str, *, seq: int, limit: int
) -> Steps[list[LoggedBatch]]:
    rows = yield Query(
        dialect.finish(
            "SELECT seq, committed_at, readings FROM intake_batch"
            " WHERE node_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        ),
        (node_id, seq, limit),
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
