"""How much the store holds."""

from collections.abc import Sequence

from fieldstation.domains.telemetry.store.deletion import DELETED
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.recent import Part
from fieldstation.domains.telemetry.store.steps import Query, Steps
from fieldstation.domains.telemetry.summaries import StoreSizes, StoreTotals


def totals(dialect: Dialect, parts: Sequence[Part]) -> Steps[StoreTotals]:
    """Measure the store.

    Cost: one scan of the series' ids with a search for each, a few searches more, the chunks of the
    oldest and newest hour, and what is in memory.
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
    (sealed_extremes,) = yield Query(
        "SELECT MIN((SELECT MIN(d.start_us) FROM sealed AS d WHERE d.series_id = s.id)),"
        " (SELECT MAX(end_us) FROM sealed) FROM series AS s"
    )
    oldest = [int(part.points.ts_us.min()) for part in parts if len(part)]
    newest = [int(part.points.ts_us.max()) for part in parts if len(part)]
    (size,) = yield Query(dialect.bytes_on_disk)
    return StoreTotals(
        series=series[0],
        readings=int(accepted[0] or 0) - int(deleted[0] or 0),
        bytes_on_disk=size[0],
        oldest_us=min([*oldest, *known(extremes[0], sealed_extremes[0])], default=None),
        newest_us=max([*newest, *known(extremes[1], sealed_extremes[1])], default=None),
    )


def sizes() -> Steps[StoreSizes]:
    """Measure each form of readings.

    Cost: reads the head of every row: one for 4,096 sealed readings, one for each hour of a series
    that is not sealed, and some 377 a year of a series' rollups. A billion readings take
    some seconds on a cold disk.
    """
    ((sealed_readings, sealed_bytes),) = yield Query(_packed_in("sealed"))
    ((chunk_readings, chunk_bytes),) = yield Query(_packed_in("chunk"))
    ((rollup_bytes,),) = yield Query(
        "SELECT COALESCE(SUM(LENGTH(data) + COALESCE(LENGTH(sketches), 0)), 0) FROM rollup"
    )
    return StoreSizes(
        sealed_readings=int(sealed_readings),
        sealed_bytes=int(sealed_bytes),
        chunk_readings=int(chunk_readings),
        chunk_bytes=int(chunk_bytes),
        rollup_bytes=int(rollup_bytes),
    )


def description(dialect: Dialect) -> Steps[str]:
    """Ask the database what it is: one look."""
    ((text,),) = yield Query(dialect.description)
    return str(text)


def _packed_in(table: str) -> str:
    # The name is one of our two.
    return f"SELECT COALESCE(SUM(count), 0), COALESCE(SUM(LENGTH(data)), 0) FROM {table}"


def known(*instants: int | None) -> list[int]:
    return [instant for instant in instants if instant is not None]
