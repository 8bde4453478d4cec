"""CSV: one header line, texts quoted against formulas, lines that end as RFC 4180 says."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fieldstation.core.errors import Malformed
from fieldstation.domains.exports.formats.quoting import (
    quote_text,
    read_value,
    unquote_text,
    write_value,
)
from fieldstation.domains.exports.formats.rows import TEXT_COLUMNS, rows_of
from fieldstation.domains.exports.ports import Quoted, Row, Unreadable
from fieldstation.domains.exports.schemas import Column
from fieldstation.domains.telemetry.ports import Columns, SeriesRow

BOM = "utf-8-sig"


class CsvEncoder:
    """Writes CSV in UTF-8."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._writers = [writer_of(column) for column in columns]

    def begin(self) -> bytes:
        return lines([self._columns])

    def add(self, block: Columns, series: Mapping[int, SeriesRow]) -> bytes:
        return lines(
            [
                "" if cell is None else write(cell)
                for write, cell in zip(self._writers, row, strict=True)
            ]
            for row in rows_of(block, series, self._columns)
        )

    def end(self) -> bytes:
        return b""

    def close(self) -> None:
        return


def writer_of(column: Column) -> Callable[[Any], str]:
    if column is Column.VALUE or column is Column.ANOMALY:
        return write_value
    if column is Column.ANOMALY_SCORE:
        return repr
    return quote_text if column in TEXT_COLUMNS else str


def lines(rows: Any) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


def read_csv(path: Path) -> Iterator[Row]:
    """Yield a CSV file's readings; ``place`` is the line on which a row ends.

    Raises ``Malformed`` for what is not CSV in UTF-8.
    """
    with path.open(encoding=BOM, newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, list[str]())
            for cells in reader:
                if cells:
                    yield read_row(header, cells, f"line {reader.line_num}")
        except (csv.Error, UnicodeDecodeError) as error:
            raise Malformed(
                f"{path.name}, line {reader.line_num}: not CSV in UTF-8 ({error})."
            ) from error


def read_row(header: Sequence[str], cells: Sequence[str], place: str) -> Row:
    if len(cells) != len(header):
        return Unreadable(place, f"{len(cells)} cells where the header names {len(header)}.")
    fields: dict[str, object] = {}
    for name, cell in zip(header, cells, strict=True):
        if not cell:
            continue
        try:
            fields[name] = read_cell(name, cell)
        except msgspec.DecodeError as error:
            return Unreadable(place, f"{name}: {error}")
    return Quoted(place, fields)


def read_cell(name: str, cell: str) -> object:
    if name == Column.VALUE:
        return read_value(cell)
    if name == Column.METADATA:
        return msgspec.json.decode(cell)
    return unquote_text(cell)
