"""The bytes of an intake-log entry: readings as packed columns.

One msgpack array ``[form, type codes, series_id, ts, value, flags, details]``; the columns are
little-endian and each has the narrowest type that holds it, which makes 21 bytes a reading (4 + 8 +
8 + 1) and the details.
"""

import sys
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from fieldstation.domains.telemetry.ports import Columns, Detail

FORM = 1


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    form: int
    codes: str
    columns: tuple[bytes, bytes, bytes, bytes]
    details: list[tuple[int, str | None, bytes | None, float | None]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode_entry(readings: Columns) -> bytes:
    """Pack the readings of one group commit."""
    arrays = (
        _packed(readings.series_id, "Iq"),
        _packed(readings.ts_us, "q"),
        array("d", readings.value),
        _packed(readings.flags, "BHI"),
    )
    details = [(at, d.text, d.metadata, d.score) for at, d in sorted(readings.details.items())]
    first, second, third, fourth = (_little_endian(column).tobytes() for column in arrays)
    codes = "".join(column.typecode for column in arrays)
    return _encoder.encode(Entry(FORM, codes, (first, second, third, fourth), details))


def decode_entry(packed: bytes) -> Columns:
    """Unpack an entry; raise ``msgspec.ValidationError`` for bytes that are none."""
    entry = _decoder.decode(packed)
    if entry.form != FORM:
        raise msgspec.ValidationError(f"intake-log entry of the unknown form {entry.form}")
    series_id, ts_us, value, flags = (
        _unpacked(code, column) for code, column in zip(entry.codes, entry.columns, strict=True)
    )
    return Columns(
        series_id=series_id.tolist(),
        ts_us=ts_us.tolist(),
        value=value.tolist(),
        flags=flags.tolist(),
        details={at: Detail(text, metadata, score) for at, text, metadata, score in entry.details},
    )


def _packed(values: Sequence[int], codes: str) -> "array[int]":
    for code in codes[:-1]:
        try:
            return array(code, values)
        except OverflowError:
            continue
    return array(codes[-1], values)


def _unpacked(code: str, column: bytes) -> "array[Any]":
    values: array[Any] = array(code)
    values.frombytes(column)
    return _little_endian(values)


def _little_endian(values: "array[Any]") -> "array[Any]":
    if sys.byteorder == "big":
        values.byteswap()
    return values
