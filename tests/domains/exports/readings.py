"""Readings of every kind for the tests of exports, and files of them."""

from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

from fieldstation.domains.exports.formats import open_encoder
from fieldstation.domains.exports.schemas import Column, ExportFormat, Selection
from fieldstation.domains.telemetry.ports import (
    FLAG_ANOMALY,
    FLAG_DETAIL,
    VARIANT_SHIFT,
    Columns,
    Detail,
    Kind,
    SeriesKey,
    SeriesRow,
    Variant,
)

START_US = 1_777_636_800_000_000
Value = float | bool | str
TRICKY = (
    *("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "'", "'=1", "''", "", " ", "a\r\nb"),
    *("1", "1e3", "-0.5", "TRUE", "false", "nan", "inf", "1_000", "<r>x</r>", "_x0041_", "\x01"),
    *("a,b", 'a"b', "a;b", "Zürich °C 水", "https://example.org", "{=1}", "\ufeff", "\uffff"),
)
texts = st.sampled_from(TRICKY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Value] = st.booleans() | texts | numbers
labels = st.none() | st.text(st.sampled_from("=+-@'a°1 "), min_size=1, max_size=8)


def block_of(*given: Value, metadata: Mapping[int, bytes] | None = None) -> Columns:
    """Return readings of series 1 with these values, a microsecond apart."""
    built = Columns()
    for at, value in enumerate(given):
        kind = Kind.NUMBER
        detail = Detail(metadata=(metadata or {}).get(at))
        if isinstance(value, bool):
            kind = Kind.BOOLEAN
        elif isinstance(value, str):
            kind, detail = Kind.TEXT, Detail(text=value, metadata=detail.metadata)
        built.series_id.append(1)
        built.ts_us.append(START_US + at)
        built.value.append(0.0 if isinstance(value, str) else float(value))
        built.flags.append(kind)
        if detail != Detail():
            built.details[at] = detail
            built.flags[at] |= FLAG_DETAIL
    return built


def flag(block: Columns, at: int, score: float) -> None:
    """Make a reading an anomaly."""
    block.flags[at] |= FLAG_ANOMALY | FLAG_DETAIL
    block.details[at] = Detail(score=score)


def series(
    sensor_type: str = "t",
    sensor_id: str = "s",
    *variants: Variant,
    series_id: int = 1,
) -> SeriesRow:
    key = SeriesKey("org", "device", sensor_type, sensor_id)
    return SeriesRow(series_id, key, variants or (Variant(None, None, "http"),))


def labelled(block: Columns, at: int, number: int) -> None:
    block.flags[at] |= number << VARIANT_SHIFT


def selection(
    kind: ExportFormat, *columns: Column, start_us: int = 0, end_us: int = 1 << 60
) -> Selection:
    return Selection("org", kind, start_us, end_us, None, None, columns or tuple(Column))


def write_file(
    directory: Path,
    kind: ExportFormat,
    *blocks: Columns,
    row: SeriesRow,
    columns: tuple[Column, ...] = (),
) -> Path:
    """Write a file as an export does."""
    encoder = open_encoder(selection(kind, *columns), work_dir=directory / "work")
    data = [encoder.begin()]
    data += [encoder.add(block, {row.id: row}) for block in blocks]
    while rest := encoder.end():
        data.append(rest)
    encoder.close()
    path = directory / f"readings.{kind}"
    path.write_bytes(b"".join(data))
    return path
