"""What exports need: something that writes a format, and somewhere to keep what is written."""

from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, Protocol

from fieldstation.domains.telemetry.ports import Columns, SeriesRow


class Attempt(NamedTuple):
    """One try to write an export: each has a file of its own."""

    export_id: str
    number: int


class Encoder(Protocol):
    """Writes one file; called from one thread at a time, never on the event loop."""

    def begin(self) -> bytes:
        """Return what stands before the first reading."""
        ...

    def add(self, block: Columns, series: Mapping[int, SeriesRow]) -> bytes:
        """Return what some more readings add to the file; it may be nothing yet."""
        ...

    def end(self) -> bytes:
        """Return the rest of the file, or its next piece; empty when it is whole."""
        ...

    def close(self) -> None:
        """Let go of what the encoder holds, whether the file is whole or not."""
        ...


class ExportFiles(Protocol):
    """Keeps the files of exports, each an append-only row of bytes."""

    async def append(self, attempt: Attempt, data: bytes) -> None:
        """Add bytes to a file. Raises ``Busy`` when the disk is full or the database away."""
        ...

    def read(self, attempt: Attempt) -> AsyncGenerator[bytes, None]:
        """Yield a file from its beginning, in pieces. Raises ``NotFound`` when it is gone."""
        ...

    async def keep_only(self) -> None:
        """Delete every file that is not an export's last attempt; harmless when repeated."""
        ...


class Quoted(NamedTuple):
    """A file's reading with where it stands: a line, or a row of a sheet or table."""

    place: str
    fields: Mapping[str, object]


class Unreadable(NamedTuple):
    """A row of a file that is no reading, and why."""

    place: str
    detail: str


Row = Quoted | Unreadable
