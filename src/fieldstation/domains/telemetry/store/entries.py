"""The bytes of an intake-log entry: readings as packed columns, in the order they arrived.

One msgpack array ``[form, type codes, series_id, ts, value, flags, details]``; the columns are
little-endian and each has the narrowest type that holds it, which makes 21 bytes a reading (4 + 8 +
8 + 1) and the details.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from fieldstation.domains.telemetry.ports import Columns, Detail
from fieldstation.domains.telemetry.store.points import Integers, Points, columns_of

FORM = 1
WIDTHS = {"B": "<u1", "H": "<u2", "I": "<u4", "q": "<i8", "d": "<f8"}
LARGEST = {"B": 2**8 - 1, "H": 2**16 - 1, "I": 2**32 - 1}


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    form: int
    codes: str
    columns: tuple[bytes, bytes, bytes, bytes]
    details: list[tuple[int, str | None, bytes | None, float | None]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode_entry(points: Points) -> bytes:
    """Pack the readings of one group commit."""
    ids = narrowest(points.series_id, "Iq")
    flags = narrowest(points.flags, "BHIq")
    columns = (
        points.series_id.astype(WIDTHS[ids]).tobytes(),
        points.ts_us.astype("<i8", copy=False).tobytes(),
        points.value.astype("<f8", copy=False).tobytes(),
        points.flags.astype(WIDTHS[flags]).tobytes(),
    )
    details: list[tuple[int, str | None, bytes | None, float | None]] = []
    if points.details:
        keys = zip(points.series_id.tolist(), points.ts_us.tolist(), strict=True)
        known = points.details
        details = [
            (at, known[key].text, known[key].metadata, known[key].score)
            for at, key in enumerate(keys)
            if key in known
        ]
    return _encoder.encode(Entry(FORM, f"{ids}qd{flags}", columns, details))


def decode_points(packed: bytes) -> Points:
    """Unpack an entry; raise ``msgspec.ValidationError`` for bytes that are none."""
    entry = _decoder.decode(packed)
    if entry.form != FORM:
        raise msgspec.ValidationError(f"intake-log entry of the unknown form {entry.form}")
    series_id, ts_us, value, flags = (
        np.frombuffer(column, WIDTHS[code])
        for code, column in zip(entry.codes, entry.columns, strict=True)
    )
    ids, times = wide(series_id), wide(ts_us)
    details = {
        (int(ids[at]), int(times[at])): Detail(text, metadata, score)
        for at, text, metadata, score in entry.details
    }
    return Points(ids, times, value.astype(np.float64, copy=False), wide(flags), details)


def decode_entry(packed: bytes) -> Columns:
    """Unpack an entry as the port gives it out."""
    return columns_of(decode_points(packed))


def narrowest(values: Integers, codes: str) -> str:
    """Return the first of the type codes, narrowest first, that holds all values."""
    largest = int(values.max(initial=0))
    return next(code for code in codes if largest <= LARGEST.get(code, largest))


def wide(column: "NDArray[np.integer]") -> Integers:
    return column.astype(np.int64, copy=False)
