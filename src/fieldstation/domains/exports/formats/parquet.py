"""Parquet, with pyarrow: a value stands in the column of its kind, the other two are null."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.core.errors import Malformed
from fieldstation.domains.exports.formats.rows import rows_of
from fieldstation.domains.exports.ports import Quoted, Row, Unreadable
from fieldstation.domains.exports.schemas import Column
from fieldstation.domains.telemetry.ports import Columns, SeriesRow

ROWS_PER_GROUP = 100_000
ROWS_PER_BATCH = 4_096
BOOLEAN, TEXT = "value_boolean", "value_text"
TIME = pa.timestamp("us", tz="UTC")
TYPES: Mapping[Column, Any] = {
    Column.TIMESTAMP: TIME,
    Column.VALUE: pa.float64(),
    Column.ANOMALY: pa.bool_(),
    Column.ANOMALY_SCORE: pa.float64(),
}


class Sink:
    """A file that hands on what was written to it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class ParquetEncoder:
    """Writes row groups of at most ``ROWS_PER_GROUP``; only the footer grows with the file."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._schema = schema_of(columns)
        self._sink = Sink()
        self._writer: Any = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"), self._schema, compression="zstd"
        )
        self._waiting: list[Any] = []
        self._rows = 0
        self._ended = False

    def begin(self) -> bytes:
        return self._sink.taken()

    def add(self, block: Columns, series: Mapping[int, SeriesRow]) -> bytes:
        if len(block):
            self._waiting.append(self._table(block, series))
            self._rows += len(block)
        if self._rows >= ROWS_PER_GROUP:
            self._write_group()
        return self._sink.taken()

    def end(self) -> bytes:
        if not self._ended:
            self._ended = True
            self._write_group()
            self._writer.close()
        return self._sink.taken()

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._writer.close()

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROWS_PER_GROUP)
            self._waiting.clear()
            self._rows = 0

    def _table(self, block: Columns, series: Mapping[int, SeriesRow]) -> Any:
        cells = list(zip(*rows_of(block, series, self._columns), strict=True))
        arrays: list[Any] = []
        for column, values in zip(self._columns, cells, strict=True):
            if column is Column.TIMESTAMP:
                arrays.append(pa.array(block.ts_us, pa.int64()).cast(TIME))
            elif column is Column.VALUE:
                arrays += kinds(values)
            else:
                arrays.append(pa.array(values, TYPES.get(column, pa.string())))
        return pa.Table.from_arrays(arrays, schema=self._schema)


def schema_of(columns: Sequence[Column]) -> Any:
    fields: list[tuple[str, Any]] = []
    for column in columns:
        fields.append((str(column), TYPES.get(column, pa.string())))
        if column is Column.VALUE:
            fields += [(BOOLEAN, pa.bool_()), (TEXT, pa.string())]
    return pa.schema(fields)


def kinds(values: Sequence[float | bool | str]) -> list[Any]:
    """Return the numbers, the booleans and the texts, each null where it is another kind."""
    return [
        pa.array([value if type(value) is kind else None for value in values], stored)
        for kind, stored in ((float, pa.float64()), (bool, pa.bool_()), (str, pa.string()))
    ]


def read_parquet(path: Path) -> Iterator[Row]:
    """Yield the readings of a file, a batch in memory at a time. Raises ``Malformed``."""
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
                for fields in plain_rows(batch):
                    number += 1
                    yield read_row(f"row {number}", fields)
    except (pa.ArrowException, OSError) as error:
        raise Malformed(f"{path.name}: not a Parquet file that can be read ({error}).") from error


def plain_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield rows as dictionaries; times of any unit as microseconds."""
    names = list(batch.schema.names)
    columns = [plain_column(column) for column in batch.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def plain_column(column: Any) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64())
    return column.to_pylist()


def read_row(place: str, given: dict[str, Any]) -> Row:
    fields = {name: part for name, part in given.items() if part is not None}
    for name in (BOOLEAN, TEXT):
        if name in fields:
            fields[Column.VALUE] = fields.pop(name)
    if isinstance(fields.get(Column.TIMESTAMP), int):
        try:
            fields[Column.TIMESTAMP] = us_to_rfc3339(fields[Column.TIMESTAMP])
        except (OverflowError, ValueError, OSError) as error:
            return Unreadable(place, f"timestamp: {error}")
    if Column.METADATA in fields:
        try:
            fields[Column.METADATA] = msgspec.json.decode(fields[Column.METADATA])
        except (msgspec.DecodeError, TypeError) as error:
            return Unreadable(place, f"metadata: {error}")
    return Quoted(place, fields)
