"""Deleting a device in slices, each a short transaction: the intake goes on between them."""

from collections.abc import Sequence

import numpy as np

from fieldstation.domains.telemetry.models import tally
from fieldstation.domains.telemetry.ports import FLAG_DETAIL
from fieldstation.domains.telemetry.store import sealed
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.steps import (
    Query,
    Steps,
    as_json,
    insert_rows,
)

HOURS_PER_SLICE = 100
SEALED_PER_SLICE = 16
DELETED = "readings_deleted"
ADD = "ON CONFLICT (name) DO UPDATE SET amount = tally.amount + excluded.amount"


def series_of(dialect: Dialect, organization_id: str, device_id: str) -> Steps[list[int]]:
    rows = yield Query(
        dialect.finish("SELECT id FROM series WHERE organization_id = $1 AND device_id = $2"),
        (organization_id, device_id),
    )
    return [series_id for (series_id,) in rows]


def slice_of_readings(dialect: Dialect, series_id: int) -> Steps[bool]:
    """Delete one series' oldest chunks, and its sealed ones once no others are left; return whether
    there were any."""
    hours = yield Query(
        dialect.finish("SELECT hour FROM series_hour WHERE series_id = $1 ORDER BY hour LIMIT $2"),
        (series_id, HOURS_PER_SLICE),
    )
    if not hours:
        return (yield from _slice_of_sealed(dialect, series_id))
    where, args = _in_hours(dialect, series_id, [hour for (hour,) in hours])
    yield Query(dialect.finish(f"DELETE FROM reading_detail {where}"), args)
    gone = yield Query(dialect.finish(f"DELETE FROM chunk {where} RETURNING count"), args)
    yield from count_deleted(sum(count for (count,) in gone))
    yield Query(
        dialect.finish("DELETE FROM series_hour WHERE series_id = $1 AND hour <= $2"),
        (series_id, hours[-1][0]),
    )
    return True


def _slice_of_sealed(dialect: Dialect, series_id: int) -> Steps[bool]:
    rows = yield Query(
        dialect.finish(
            f"SELECT {sealed.PICKED} FROM sealed AS s WHERE s.series_id = $1"
            " ORDER BY s.start_us LIMIT $2"
        ),
        (series_id, SEALED_PER_SLICE),
    )
    if not rows:
        return False
    points = sealed.unpack(rows)
    detailed = points.ts_us[(points.flags & FLAG_DETAIL) != 0] // US_PER_HOUR
    if len(detailed):
        where, args = _in_hours(dialect, series_id, np.unique(detailed).tolist())
        yield Query(dialect.finish(f"DELETE FROM reading_detail {where}"), args)
    yield Query(
        dialect.finish("DELETE FROM sealed WHERE series_id = $1 AND start_us <= $2"),
        (series_id, rows[-1][1]),
    )
    yield from count_deleted(len(points))
    return True


def _in_hours(
    dialect: Dialect, series_id: int, hours: Sequence[int]
) -> tuple[str, tuple[str, int]]:
    """Return the condition of one series' rows in some hours, and its arguments."""
    listed = f"SELECT k.hour FROM {dialect.rows('$1', 'k', hour='bigint')}"
    where = f"WHERE {dialect.among('hour', listed)} AND series_id = $2"
    return where, (as_json(list(hours)), series_id)


def count_deleted(readings: int) -> Steps[None]:
    """Add to what ``totals`` takes off."""
    yield insert_rows(tally, ("name", "amount"), [(DELETED, readings)], on_conflict=ADD)


def rest_of_device(
    dialect: Dialect, organization_id: str, device_id: str, series_ids: Sequence[int]
) -> Steps[None]:
    """Delete the rest once the readings are gone: the series last, so that a retry finds them."""
    ids = as_json(list(series_ids))
    own = f"SELECT k.series_id FROM {dialect.rows('$1', 'k', series_id='bigint')}"
    yield Query(dialect.finish(f"DELETE FROM last_value WHERE series_id IN ({own})"), (ids,))
    yield Query(dialect.finish(f"DELETE FROM series_variant WHERE series_id IN ({own})"), (ids,))
    yield Query(
        dialect.finish("DELETE FROM refusal WHERE organization_id = $1 AND device_id = $2"),
        (organization_id, device_id),
    )
    yield Query(dialect.finish(f"DELETE FROM series WHERE id IN ({own})"), (ids,))
