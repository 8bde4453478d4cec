"""How some series' readings of a period are found in rows clustered by minute.

Two ways in: a *seek* searches every minute of the hours that hold readings of each series, which is
right for few series among many; a *scan* reads whole minutes and drops other series' rows, which is
right for many.
"""

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache

from fieldstation.domains.telemetry.ports import US_PER_MINUTE, SeriesRow
from fieldstation.domains.telemetry.store.dialect import MINUTES_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.steps import as_json

SEEK_SERIES_MAX = 200
END_US_MAX = US_PER_MINUTE * (2**31 - 1)


class Way(Enum):
    """How the rows are reached."""

    SEEK = "seek"
    SCAN = "scan"
    ANOMALIES = "anomalies"


def bounded(start_us: int, end_us: int) -> tuple[int, int]:
    """Cut a period to the instants whose minutes fit their column; no reading lies outside."""
    return max(start_us, 0), min(end_us, END_US_MAX)


def way_for(series: Sequence[SeriesRow]) -> Way:
    return Way.SEEK if len(series) <= SEEK_SERIES_MAX else Way.SCAN


def ids_of(series: Sequence[SeriesRow]) -> str:
    return as_json([row.id for row in series])


@lru_cache(maxsize=16)
def readings_between(dialect: Dialect, way: Way) -> str:
    """Write ``FROM … WHERE …`` of the readings ``r`` of series ``$1`` in minutes ``$2`` to ``$3``.

    Cost: SEEK one search per series and minute of an hour that holds any; SCAN every row of the
    minutes; ANOMALIES one search per series and the anomalies found.
    """
    ids = dialect.rows("$1", "k", series_id="bigint")
    if way is Way.SCAN:
        wanted = f"SELECT k.series_id FROM {ids}"
        return f"FROM reading AS r WHERE r.minute BETWEEN $2 AND $3 AND r.series_id IN ({wanted})"
    if way is Way.ANOMALIES:
        in_minutes = (
            f"r.ts >= CAST($2 AS BIGINT) * {US_PER_MINUTE}"
            f" AND r.ts < (CAST($3 AS BIGINT) + 1) * {US_PER_MINUTE}"
        )
        flagged = f"r.series_id = k.series_id AND {in_minutes} AND ({IS_ANOMALY_OF_R})"
        return f"FROM {ids} {dialect.seek('reading', 'r', flagged)} WHERE 1 = 1"
    in_hours = (
        "h.series_id = k.series_id"
        f" AND h.hour BETWEEN $2 / {MINUTES_PER_HOUR} AND $3 / {MINUTES_PER_HOUR}"
    )
    at_minute = f"r.minute = h.hour * {MINUTES_PER_HOUR} + m.minute AND r.series_id = h.series_id"
    return (
        f"FROM {ids} {dialect.seek('series_hour', 'h', in_hours)} CROSS JOIN {dialect.minutes}"
        f" {dialect.seek('reading', 'r', at_minute)}"
        f" WHERE h.hour * {MINUTES_PER_HOUR} + m.minute BETWEEN $2 AND $3"
    )


IS_ANOMALY_OF_R = "(r.flags & 4) <> 0"
