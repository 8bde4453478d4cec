"""XLSX, with xlsxwriter: written row by row to a temporary file, so it comes as a whole at the end.

No text becomes a formula or a link: every cell is written by its type. Times are RFC 3339 texts,
because a spreadsheet's own have milliseconds only.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.worksheet import Worksheet

from fieldstation.core.errors import Invalid
from fieldstation.domains.exports.formats.quoting import quote_text
from fieldstation.domains.exports.formats.rows import rows_of
from fieldstation.domains.exports.schemas import Column
from fieldstation.domains.telemetry.ports import Columns, SeriesRow

SHEET_ROWS_MAX = 1_048_576
SHEETS_MAX = 10
PIECE_BYTES = 256 * 1024

Attributes = Sequence[tuple[str, str]]


class ExactSheet(Worksheet):
    """A sheet that keeps all digits of a number, and takes no text for marked-up one."""

    def _xml_number_element(self, number: float, attributes: Attributes = ()) -> None:
        attr = "".join(f' {name}="{text}"' for name, text in attributes)
        file: Any = self.fh
        file.write(f"<c{attr}><v>{number!r}</v></c>")

    def _xml_rich_inline_string(self, string: str, attributes: Attributes = ()) -> None:
        self._xml_inline_string(string, True, attributes)


class WorkbookEncoder:
    """Fills sheets of at most ``sheet_rows_max`` rows, each with the header.

    Raises ``Invalid`` when the last of ``sheets_max`` is full.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        work_dir: Path,
        sheet_rows_max: int = SHEET_ROWS_MAX,
        sheets_max: int = SHEETS_MAX,
    ) -> None:
        self._columns = columns
        self._directory = TemporaryDirectory(dir=work_dir)
        self._path = Path(self._directory.name) / "export.xlsx"
        self._book = Workbook(
            self._path,
            {
                "constant_memory": True,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "tmpdir": self._directory.name,
            },
        )
        self._sheet_rows_max = sheet_rows_max
        self._sheets_max = sheets_max
        self._sheets = 0
        self._row = 0
        self._sheet: Any = None
        self._file: BinaryIO | None = None
        self._add_sheet()

    def begin(self) -> bytes:
        return b""

    def add(self, block: Columns, series: Mapping[int, SeriesRow]) -> bytes:
        for cells in rows_of(block, series, self._columns):
            if self._row == self._sheet_rows_max:
                self._add_sheet()
            self._write(cells)
        return b""

    def end(self) -> bytes:
        if self._file is None:
            self._finish()
            self._file = self._path.open("rb")
        return self._file.read(PIECE_BYTES)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        else:
            self._book.fileclosed = True  # nobody waits for it; its destructor would warn
            sheets: list[Any] = self._book.worksheets()
            for sheet in sheets:
                with suppress(OSError):  # a full disk, for what nobody wants any more
                    sheet.row_data_fh.close()
        self._directory.cleanup()

    def _finish(self) -> None:
        """Put the workbook together. Raises ``OSError``, which the library wraps."""
        try:
            self._book.close()
        except FileCreateError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise

    def _add_sheet(self) -> None:
        if self._sheets == self._sheets_max:
            most = self._sheets_max * (self._sheet_rows_max - 1)
            raise Invalid(
                f"XLSX holds at most {most} readings; choose CSV, JSONL or Parquet, or a shorter "
                "period.",
                code="export_too_large",
            )
        self._sheets += 1
        self._sheet = self._book.add_worksheet(
            f"readings {self._sheets}", worksheet_class=ExactSheet
        )
        self._row = 0
        self._write(tuple(self._columns))

    def _write(self, cells: Sequence[Any]) -> None:
        sheet, row = self._sheet, self._row
        for at, cell in enumerate(cells):
            if cell is None:
                continue
            if isinstance(cell, str):
                sheet.write_string(row, at, quote_text(cell))
            elif isinstance(cell, bool):
                sheet.write_boolean(row, at, cell)
            else:
                sheet.write_number(row, at, cell)
        self._row += 1
