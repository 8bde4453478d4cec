"""A block of readings as rows of plain values, in the columns that are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from fieldstation.domains.exports.schemas import Column
from fieldstation.domains.telemetry.ports import Columns, SeriesRow
from fieldstation.domains.telemetry.rendering import render_columns

REQUIRED = (Column.TIMESTAMP, Column.DEVICE_ID, Column.SENSOR_TYPE, Column.VALUE)
"""What a file must hold to be imported."""
TEXT_COLUMNS = frozenset(Column) - {
    Column.VALUE,
    Column.ANOMALY,
    Column.ANOMALY_SCORE,
    Column.METADATA,
}


def rows_of(
    block: Columns, series: Mapping[int, SeriesRow], columns: Sequence[Column]
) -> Iterator[tuple[Any, ...]]:
    """Yield one tuple a reading; metadata is its JSON text."""
    take = attrgetter(*columns, "id")  # of one attribute alone it would give no tuple
    metadata = columns.index(Column.METADATA) if Column.METADATA in columns else None
    for rendered in render_columns(block, series):
        row = take(rendered)[:-1]
        if metadata is not None and row[metadata] is not None:
            row = (*row[:metadata], bytes(row[metadata]).decode(), *row[metadata + 1 :])
        yield row
