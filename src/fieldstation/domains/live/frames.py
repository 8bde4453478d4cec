"""What travels on a live socket: readings encoded once, as messages and as WebSocket frames."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from fieldstation.domains.telemetry.ports import (
    VARIANT_SHIFT,
    Columns,
    Detail,
    SeriesKey,
    Variant,
)
from fieldstation.domains.telemetry.rendering import render

NO_DETAIL = Detail()
FINAL_TEXT = 0x81
LENGTH_MAX = 125
LENGTH_16_MAX = 0xFFFF

_encoder = msgspec.json.Encoder()


class Frame(NamedTuple):
    """One message: its JSON, where a client that has it goes on, how many readings it shows."""

    text: bytes
    cursor: str
    readings: int


class Shown:
    """One committed reading as clients see it; both encodings are made once, when first wanted."""

    __slots__ = ("_frame", "cursor", "data", "timestamp")

    def __init__(self, data: bytes, timestamp: str, cursor: str) -> None:
        self.data = data
        self.timestamp = timestamp
        self.cursor = cursor
        self._frame: Frame | None = None

    def frame(self) -> Frame:
        """Return it as a ``sensor_data`` message of its own."""
        if self._frame is None:
            text = b'{"type":"sensor_data","data":%b,"timestamp":"%b","cursor":"%b"}' % (
                self.data,
                self.timestamp.encode(),
                self.cursor.encode(),
            )
            self._frame = Frame(text, self.cursor, 1)
        return self._frame


def encode_reading(readings: Columns, position: int, *, key: SeriesKey, variant: Variant) -> bytes:
    """Encode one reading as in the API contract."""
    return _encoder.encode(
        render(
            readings.series_id[position],
            key,
            variant,
            ts_us=readings.ts_us[position],
            value=readings.value[position],
            flags=readings.flags[position],
            detail=readings.details.get(position, NO_DETAIL),
        )
    )


def variant_number(flags: int) -> int:
    return flags >> VARIANT_SHIFT


def batch_frame(shown: Sequence[Shown]) -> Frame:
    """Return several readings as one ``sensor_data_batch`` message; it stands where its last one
    stands."""
    last = shown[-1]
    text = b'{"type":"sensor_data_batch","data":[%b],"timestamp":"%b","cursor":"%b"}' % (
        b",".join([reading.data for reading in shown]),
        last.timestamp.encode(),
        last.cursor.encode(),
    )
    return Frame(text, last.cursor, len(shown))


def gap_frame(dropped: int | None, cursor: str) -> Frame:
    """Return the message that says how many readings are missing; None when nobody knows."""
    gap = {"type": "gap", "dropped": dropped, "cursor": cursor}
    return Frame(_encoder.encode(gap), cursor, 0)


def wire_form(frames: Sequence[Frame]) -> bytes:
    """Return messages as a server's WebSocket text frames (RFC 6455 §5.2), ready to be written."""
    parts: list[bytes] = []
    for text, _, _ in frames:
        size = len(text)
        if size <= LENGTH_MAX:
            header = bytes((FINAL_TEXT, size))
        elif size <= LENGTH_16_MAX:
            header = b"\x81\x7e" + size.to_bytes(2)
        else:
            header = b"\x81\x7f" + size.to_bytes(8)
        parts += (header, text)
    return b"".join(parts)
