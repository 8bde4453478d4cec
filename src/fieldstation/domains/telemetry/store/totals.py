"""How much the store holds."""

from collections.abc import Sequence

from fieldstation.domains.telemetry.ports import StoreTotals
from fieldstation.domains.telemetry.store.deletion import DELETED
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.steps import Query, Steps


def totals(dialect: Dialect, parts: Sequence[Part]) -> Steps[StoreTotals]:
    """Measure the store.

    Cost: one scan of the series' ids, a few searches, the chunks of the oldest and newest hour, and
    what is in memory.
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
        "SELECT (SELECT MIN(start_us) FROM chunk WHERE hour = (SELECT MIN(hour) FROM chunk)),"
        " (SELECT MAX(end_us) FROM chunk WHERE hour = (SELECT MAX(hour) FROM chunk))"
    )
    oldest = [int(part.points.ts_us.min()) for part in parts if len(part)]
    newest = [int(part.points.ts_us.max()) for part in parts if len(part)]
    (size,) = yield Query(dialect.bytes_on_disk)
    return StoreTotals(
        series=series[0],
        readings=int(accepted[0] or 0) - int(deleted[0] or 0),
        bytes_on_disk=size[0],
        oldest_us=min(oldest + [us for us in extremes[:1] if us is not None], default=None),
        newest_us=max(newest + [us for us in extremes[1:] if us is not None], default=None),
    )
