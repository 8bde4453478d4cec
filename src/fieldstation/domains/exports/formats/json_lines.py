"""JSON Lines: one reading a line, as the API shows it."""

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

import msgspec

from fieldstation.domains.exports.ports import Quoted, Row, Unreadable
from fieldstation.domains.exports.schemas import Column
from fieldstation.domains.telemetry.ports import Columns, SeriesRow
from fieldstation.domains.telemetry.rendering import render_columns

LINE_BYTES_MAX = 256 * 1024

encoder = msgspec.json.Encoder()
decoder = msgspec.json.Decoder(dict[str, object])


class JsonLinesEncoder:
    """Writes JSON Lines."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._all = tuple(columns) == tuple(Column)
        self._take = attrgetter(*columns, Column.ID)

    def begin(self) -> bytes:
        return b""

    def add(self, block: Columns, series: Mapping[int, SeriesRow]) -> bytes:
        rendered = render_columns(block, series)
        if self._all:
            return encoder.encode_lines(rendered)
        names, take = self._columns, self._take
        # The last one taken is there so that there are always several.
        return encoder.encode_lines(
            dict(zip(names, take(reading)[:-1], strict=True)) for reading in rendered
        )

    def end(self) -> bytes:
        return b""

    def close(self) -> None:
        return


def read_json_lines(path: Path) -> Iterator[Row]:
    """Yield the readings of a file, at most ``LINE_BYTES_MAX`` a line."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES_MAX):
            number += 1
            place = f"line {number}"
            if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                while rest := file.readline(LINE_BYTES_MAX):
                    if rest.endswith(b"\n"):
                        break
                yield Unreadable(place, f"longer than {LINE_BYTES_MAX // 1024} KiB.")
            elif line.strip():
                yield read_line(place, line)


def read_line(place: str, line: bytes) -> Row:
    try:
        fields = decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unreadable(place, f"no JSON object: {error}")
    return Quoted(place, {name: part for name, part in fields.items() if part is not None})
