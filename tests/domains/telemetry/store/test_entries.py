"""The bytes of an intake-log entry hold what was packed, and little more."""

from dataclasses import replace

import msgspec
import pytest

from fieldstation.domains.telemetry.ports import FLAG_DETAIL, Columns, Detail
from fieldstation.domains.telemetry.store.entries import Entry, decode_entry, encode_entry
from fieldstation.domains.telemetry.store.points import Points, points_of
from tests.contracts.readings import NOON_US


def make_columns(*, series_id: int = 7, flags: int = 0, count: int = 1_000) -> Columns:
    return Columns(
        series_id=[series_id] * count,
        ts_us=[NOON_US + at for at in range(count)],
        value=[at / 7 for at in range(count)],
        flags=[flags] * count,
    )


def as_points(columns: Columns) -> Points:
    keys = list(zip(columns.series_id, columns.ts_us, strict=True))
    details = {keys[at]: detail for at, detail in columns.details.items()}
    return replace(points_of(columns), details=details)


@pytest.mark.parametrize("series_id", [1, 2**32 - 1, 2**32, 2**62])
@pytest.mark.parametrize("flags", [0, 255, 256, 65_535, 65_536, 2**31 - 1])
def test_every_width_comes_back(series_id: int, flags: int) -> None:
    readings = make_columns(series_id=series_id, flags=flags)
    readings.details = {3: Detail("open", None, None), 999: Detail(None, b"{}", 7.5)}
    for at in readings.details:
        readings.flags[at] |= FLAG_DETAIL

    assert decode_entry(encode_entry(as_points(readings))) == readings


def test_usual_reading_takes_21_bytes() -> None:
    assert len(encode_entry(as_points(make_columns()))) < 21_100


def test_unknown_form_is_refused() -> None:
    strange = msgspec.msgpack.encode(Entry(9, "IqdB", (b"", b"", b"", b""), []))

    with pytest.raises(msgspec.ValidationError, match="form 9"):
        decode_entry(strange)
