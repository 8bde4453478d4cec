"""One module a format; chosen here, and loaded when it is used first."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from fieldstation.domains.exports.errors import format_not_installed
from fieldstation.domains.exports.ports import Encoder, Row
from fieldstation.domains.exports.schemas import ExportFormat, Selection

MEDIA_TYPES = {
    ExportFormat.CSV: "text/csv",
    ExportFormat.JSONL: "application/jsonl",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
    ExportFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
MODULES = {
    ExportFormat.CSV: "csv_text",
    ExportFormat.JSONL: "json_lines",
    ExportFormat.PARQUET: "parquet",
    ExportFormat.XLSX: "workbook",
}


def load(name: ExportFormat, module: str | None = None) -> Any:
    """Load a format's module. Raises ``Invalid`` when what it needs is not installed."""
    try:
        return import_module(f"{__name__}.{module or MODULES[name]}")
    except ModuleNotFoundError as error:
        raise format_not_installed(name, extra="parquet") from error


def open_encoder(selection: Selection, *, work_dir: Path) -> Encoder:
    """Return what writes one file; temporary files go below ``work_dir``."""
    name, columns = selection.format, selection.columns
    module = load(name)
    if name is ExportFormat.CSV:
        return module.CsvEncoder(columns)
    if name is ExportFormat.JSONL:
        return module.JsonLinesEncoder(columns)
    if name is ExportFormat.PARQUET:
        return module.ParquetEncoder(columns)
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return module.WorkbookEncoder(columns, work_dir=work_dir)


def reader_of(name: ExportFormat) -> Callable[[Path], Iterator[Row]]:
    """Return what reads a file, one reading at a time."""
    if name is ExportFormat.CSV:
        return load(name).read_csv
    if name is ExportFormat.JSONL:
        return load(name).read_json_lines
    if name is ExportFormat.PARQUET:
        return load(name).read_parquet
    return load(name, "workbook_reading").read_workbook
