"""Every format gives back what was written: kinds, labels, metadata; no cell is a formula."""

import csv
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.core.errors import Invalid, Malformed
from fieldstation.domains.exports.formats import load, reader_of
from fieldstation.domains.exports.formats.quoting import read_value, write_value
from fieldstation.domains.exports.formats.workbook import WorkbookEncoder
from fieldstation.domains.exports.ports import Quoted, Row, Unreadable
from fieldstation.domains.exports.schemas import Column, ExportFormat
from fieldstation.domains.telemetry.ports import Variant
from tests.domains.exports.readings import (
    START_US,
    TRICKY,
    Value,
    block_of,
    flag,
    labelled,
    labels,
    series,
    texts,
    values,
    write_file,
)

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")
FORMATS = pytest.mark.parametrize("kind", list(ExportFormat))


def fields_of(rows: Sequence[Row]) -> list[dict[str, object]]:
    found = []
    for row in rows:
        assert isinstance(row, Quoted), row
        found.append(dict(row.fields))
    return found


def read_back(path: Path, kind: ExportFormat) -> list[dict[str, object]]:
    return fields_of(list(reader_of(kind)(path)))


def same(found: object, wanted: Value) -> bool:
    return type(found) is type(wanted) and found == wanted


@FORMATS
@given(many=st.lists(values, max_size=12), unit=labels, origin=labels, sensor_id=texts)
def test_a_file_gives_back_every_value_and_label(
    kind: ExportFormat, many: list[Value], unit: str | None, origin: str | None, sensor_id: str
) -> None:
    row = series("=type", sensor_id or "s", Variant(unit, origin, "mqtt"))
    with TemporaryDirectory() as directory:
        found = read_back(write_file(Path(directory), kind, block_of(*many), row=row), kind)
    assert len(found) == len(many)
    for at, (reading, value) in enumerate(zip(found, many, strict=True)):
        assert same(reading["value"], value)
        assert reading["timestamp"] == us_to_rfc3339(START_US + at)
        assert (reading["device_id"], reading["sensor_type"]) == ("device", "=type")
        assert reading["sensor_id"] == (sensor_id or "s")
        assert (reading.get("unit"), reading.get("origin")) == (unit, origin)
        assert reading["source_protocol"] == "mqtt"


@FORMATS
def test_every_tricky_text_comes_back(kind: ExportFormat, tmp_path: Path) -> None:
    found = read_back(write_file(tmp_path, kind, block_of(*TRICKY), row=series()), kind)
    assert [reading["value"] for reading in found] == list(TRICKY)


@FORMATS
def test_metadata_anomalies_and_several_labels_come_back(
    kind: ExportFormat, tmp_path: Path
) -> None:
    metadata = {"raw": [1, 2.5, None], "note": "=1", "水": {"deep": True}}
    block = block_of(1.0, 2.0, 3.0, metadata={0: json.dumps(metadata).encode()})
    flag(block, 1, 7.25)
    labelled(block, 2, 1)
    row = series("t", "s", Variant("°C", None, "http"), Variant("K", "edge", "mqtt"))

    first, second, third = read_back(write_file(tmp_path, kind, block, row=row), kind)

    assert first["metadata"] == metadata
    assert (first["unit"], third["unit"]) == ("°C", "K")
    assert (third["origin"], third["source_protocol"]) == ("edge", "mqtt")
    assert float(str(second["anomaly_score"])) == 7.25
    assert "anomaly_score" not in first


@FORMATS
def test_only_the_columns_that_are_asked_for_are_written_in_their_order(
    kind: ExportFormat, tmp_path: Path
) -> None:
    columns = (Column.VALUE, Column.TIMESTAMP)
    path = write_file(tmp_path, kind, block_of(True, 2.0), row=series(), columns=columns)
    found = read_back(path, kind)
    assert [set(reading) for reading in found] == [{"value", "timestamp"}] * 2
    assert [reading["value"] for reading in found] == [True, 2.0]
    if kind is ExportFormat.CSV:
        assert path.read_text().splitlines()[0] == "value,timestamp"


@FORMATS
def test_one_column_and_no_readings_are_files_too(kind: ExportFormat, tmp_path: Path) -> None:
    path = write_file(tmp_path, kind, row=series(), columns=(Column.VALUE,))
    assert read_back(path, kind) == []
    path = write_file(tmp_path, kind, block_of("x"), row=series(), columns=(Column.VALUE,))
    assert read_back(path, kind) == [{"value": "x"}]


def test_no_text_of_a_csv_cell_begins_as_a_formula_and_numbers_stay_numbers(
    tmp_path: Path,
) -> None:
    row = series("@type", "=id", Variant("+u", "-o", "http"))
    path = write_file(tmp_path, ExportFormat.CSV, block_of(*TRICKY, -5.5), row=row)
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    value = header.index("value")
    assert [cell for line in lines[:-1] for cell in line if cell.startswith(FORMULA_SIGNS)] == []
    assert lines[-1][value] == "-5.5"
    assert lines[0][value] == "'=1+1"


def test_no_cell_of_a_workbook_is_a_formula_a_link_or_raw_markup(tmp_path: Path) -> None:
    row = series("@type", "=id", Variant("+u", "-o", "http"))
    block = block_of(*TRICKY, -5.5, True)
    with zipfile.ZipFile(write_file(tmp_path, ExportFormat.XLSX, block, row=row)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
        names = archive.namelist()
    assert "<f>" not in sheet
    assert "<hyperlink" not in sheet
    assert "<r>" not in sheet
    assert "xl/sharedStrings.xml" not in names
    tree = ET.fromstring(sheet)  # noqa: S314 - our own file
    cells = ["".join(cell.itertext()) for cell in tree.iter() if cell.tag.endswith("}is")]
    assert [text for text in cells if text.startswith(FORMULA_SIGNS)] == []
    assert "<v>-5.5</v>" in sheet


def test_a_workbook_goes_on_in_the_next_sheet_and_refuses_after_the_last(tmp_path: Path) -> None:
    row = series()
    encoder = WorkbookEncoder(tuple(Column), work_dir=tmp_path, sheet_rows_max=4, sheets_max=2)
    encoder.add(block_of(*map(float, range(6))), {1: row})
    path = tmp_path / "two.xlsx"
    with path.open("wb") as file:
        while piece := encoder.end():
            file.write(piece)
    encoder.close()
    rows = list(reader_of(ExportFormat.XLSX)(path))
    assert [reading["value"] for reading in fields_of(rows)] == [0, 1, 2, 3, 4, 5]
    assert rows[3].place == "sheet readings 2, row 2"

    encoder = WorkbookEncoder(tuple(Column), work_dir=tmp_path, sheet_rows_max=4, sheets_max=2)
    with pytest.raises(Invalid, match="at most 6 readings"):
        encoder.add(block_of(*map(float, range(7))), {1: row})
    encoder.close()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_rows_that_cannot_be_read_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('value,metadata\r\n1,\r\n2\r\n"a\nb",{\r\n3,"{""a"":1}"\r\n')
    first, second, third, fourth = reader_of(ExportFormat.CSV)(path)
    assert first == Quoted("line 2", {"value": 1.0})
    assert second == Unreadable("line 3", "1 cells where the header names 2.")
    assert third.place == "line 5"
    assert isinstance(third, Unreadable)
    assert fourth == Quoted("line 6", {"value": 3.0, "metadata": {"a": 1}})

    path = tmp_path / "a.jsonl"
    path.write_text('{"value": 1}\n\n[2]\n{"value": 3}\n' + "x" * 300_000 + '\n{"value": 4}')
    one, two, three, four, five = reader_of(ExportFormat.JSONL)(path)
    assert (one.place, two.place, three.place, four.place) == (
        "line 1",
        "line 3",
        "line 4",
        "line 5",
    )
    assert isinstance(two, Unreadable)
    assert four == Unreadable("line 5", "longer than 256 KiB.")
    assert five == Quoted("line 6", {"value": 4})


@FORMATS
def test_what_is_no_such_file_is_refused_in_a_sentence(kind: ExportFormat, tmp_path: Path) -> None:
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(b'"\xff\xfe')
    if kind is ExportFormat.JSONL:
        (row,) = reader_of(kind)(path)
        assert isinstance(row, Unreadable)
        return
    with pytest.raises(Malformed, match=r"broken\."):
        list(reader_of(kind)(path))


def test_a_format_that_is_not_installed_names_its_extra() -> None:
    with pytest.raises(Invalid, match=r"fieldstation\[parquet\]") as refused:
        load(ExportFormat.PARQUET, "no_such_module")
    assert refused.value.code == "format_not_installed"


@given(values)
def test_a_cell_of_csv_means_the_same_value_again(value: Value) -> None:
    assert same(read_value(write_value(value)), value)
