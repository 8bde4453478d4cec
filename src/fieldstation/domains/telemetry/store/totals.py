"""How much the store holds."""

from fieldstation.domains.telemetry.ports import StoreTotals
from fieldstation.domains.telemetry.store.deletion import DELETED
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.steps import Query, Steps


def totals(dialect: Dialect) -> Steps[StoreTotals]:
    """Measure the store.

    Cost: one scan of the series' ids, a few searches, the readings of the oldest and newest minute.
    """
    (series,) = yield Query("SELECT COUNT(*) FROM series")
    (accepted,) = yield Query(
        "SELECT SUM(b.accepted_total) FROM intake_batch AS b JOIN (SELECT node_id, MAX(seq) AS seq"
        " FROM intake_batch GROUP BY node_id) AS n ON n.node_id = b.node_id AND n.seq = b.seq"
    )
    (deleted,) = yield Query(
        dialect.finish("SELECT SUM(amount) FROM tally WHERE name = $1"), (DELETED,)
    )
    (extremes,) = yield Query(
        "SELECT (SELECT MIN(ts) FROM reading WHERE minute = (SELECT MIN(minute) FROM reading)),"
        " (SELECT MAX(ts) FROM reading WHERE minute = (SELECT MAX(minute) FROM reading))"
    )
    (size,) = yield Query(dialect.bytes_on_disk)
    return StoreTotals(
        series=series[0],
        readings=int(accepted[0] or 0) - int(deleted[0] or 0),
        bytes_on_disk=size[0],
        oldest_us=extremes[0],
        newest_us=extremes[1],
    )
