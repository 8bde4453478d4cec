"""Messages that were acknowledged but could not be stored, kept per device."""

from fieldstation.domains.telemetry.ports import Refusal
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.steps import Query, Steps

TRIM_ROWS_MAX = 10_000


def newest(
    dialect: Dialect, organization_id: str, device_id: str, *, limit: int, before_id: str | None
) -> Steps[list[Refusal]]:
    """Read a device's refusals, newest first: one range of an index."""
    where = "organization_id = $1 AND device_id = $2"
    args = (organization_id, device_id, limit)
    if before_id is not None:
        where, args = f"{where} AND id < $4", (*args, before_id)
    rows = yield Query(
        dialect.finish(
            "SELECT id, organization_id, device_id, received_at, topic, payload, error, detail"
            f" FROM refusal WHERE {where} ORDER BY id DESC LIMIT $3"
        ),
        args,
    )
    return [Refusal(*row) for row in rows]


def count(dialect: Dialect, organization_id: str, device_id: str) -> Steps[int]:
    """Count a device's refusals; their number is bounded."""
    (found,) = yield Query(
        dialect.finish(
            "SELECT COUNT(*) FROM refusal WHERE organization_id = $1 AND device_id = $2"
        ),
        (organization_id, device_id),
    )
    return found[0]


def trim(dialect: Dialect, *, keep_per_device: int) -> Steps[int]:
    """Delete what exceeds the newest of each device, at most 10,000 at a time.

    Reads the index once.
    """
    rows = yield Query(
        dialect.finish(
            "DELETE FROM refusal WHERE id IN (SELECT t.id FROM (SELECT n.id FROM"
            " (SELECT id, ROW_NUMBER() OVER"
            " (PARTITION BY organization_id, device_id ORDER BY id DESC) AS place"
            " FROM refusal) AS n WHERE n.place > $1 LIMIT $2) AS t) RETURNING 1"
        ),
        (keep_per_device, TRIM_ROWS_MAX),
    )
    return len(rows)
