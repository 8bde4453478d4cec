"""Reads sheets of readings from XLSX, row by row: what the export writes and spreadsheets save.

The libraries for it either load a whole sheet or do not undo ``_x000D_`` in texts (ECMA-376, part
1, 22.9.2.19), which an exact copy needs.
"""

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

import msgspec

from fieldstation.core.errors import Malformed
from fieldstation.domains.exports.formats.quoting import unquote_text
from fieldstation.domains.exports.ports import Quoted, Row, Unreadable
from fieldstation.domains.exports.schemas import Column

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
LINKS = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
SHARED_TEXTS_MAX = 2_000_000
ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
REFERENCE = re.compile("([A-Z]{1,3})")

Cell = float | bool | str


def read_workbook(path: Path) -> Iterator[Row]:
    """Yield the readings of all sheets, in their order. Raises ``Malformed``.

    Memory holds one row, and the texts that a spreadsheet program keeps in a table of their own, at
    most ``SHARED_TEXTS_MAX``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            shared = shared_texts(archive)
            for name, part in sheets(archive):
                with archive.open(part) as file:
                    yield from read_sheet(file, shared, name)
    except (zipfile.BadZipFile, KeyError, ET.ParseError, IndexError, ValueError) as error:
        raise Malformed(f"{path.name}: not an XLSX file that can be read ({error}).") from error


def sheets(archive: zipfile.ZipFile) -> list[tuple[str, str]]:
    """Return the sheets' names and where they are in the archive."""
    links = parse(archive, "xl/_rels/workbook.xml.rels")
    targets = {link.attrib["Id"]: link.attrib["Target"] for link in links}
    found = []
    for sheet in parse(archive, "xl/workbook.xml").iter(f"{MAIN}sheet"):
        target = targets[sheet.attrib[f"{LINKS}id"]]
        part = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
        found.append((sheet.attrib["name"], part))
    return found


def parse(archive: zipfile.ZipFile, name: str) -> ET.Element:
    return ET.fromstring(archive.read(name))  # noqa: S314 - as above


def shared_texts(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.namelist():
        return []
    texts: list[str] = []
    with archive.open("xl/sharedStrings.xml") as file:
        for item in elements(file, "si"):
            if len(texts) == SHARED_TEXTS_MAX:
                raise ValueError(f"more than {SHARED_TEXTS_MAX} shared texts; save it as CSV")
            texts.append(text_of(item))
    return texts


def elements(file: IO[bytes], name: str) -> Iterator[ET.Element]:
    """Yield every element of a name, and forget it."""
    wanted = MAIN + name
    parents: list[ET.Element] = []
    for event, element in ET.iterparse(file, ("start", "end")):  # noqa: S314 - as above
        if event == "start":
            parents.append(element)
            continue
        parents.pop()
        if element.tag == wanted:
            yield element
            if parents:
                parents[-1].remove(element)


def text_of(element: ET.Element) -> str:
    """Return the text of a string item, without the readings of its signs, escapes undone."""
    parts = [part.text or "" for part in element.findall(f"{MAIN}t")]
    parts += [part.text or "" for part in element.findall(f"{MAIN}r/{MAIN}t")]
    return ESCAPED.sub(lambda found: chr(int(found[1], 16)), "".join(parts))


def read_sheet(file: IO[bytes], shared: Sequence[str], name: str) -> Iterator[Row]:
    header: dict[int, str] | None = None
    for number, row in enumerate(elements(file, "row"), start=1):
        cells = dict(cells_of(row, shared))
        if header is None:
            header = {at: str(cell) for at, cell in cells.items()}
        elif cells:
            place = f"sheet {name}, row {row.attrib.get('r', number)}"
            yield read_row(place, {header.get(at, ""): cell for at, cell in cells.items()})


def cells_of(row: ET.Element, shared: Sequence[str]) -> Iterator[tuple[int, Cell]]:
    """Yield the cells that hold something with their column, from 0."""
    following = 0
    for cell in row.iter(f"{MAIN}c"):
        reference = REFERENCE.match(cell.attrib.get("r", ""))
        at = following if reference is None else column_number(reference[1])
        following = at + 1
        content = content_of(cell, shared)
        if content is not None:
            yield at, content


def column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def content_of(cell: ET.Element, shared: Sequence[str]) -> Cell | None:
    kind = cell.attrib.get("t", "n")
    if kind == "inlineStr":
        item = cell.find(f"{MAIN}is")
        return None if item is None else text_of(item)
    written = cell.findtext(f"{MAIN}v")
    if written is None:
        return None
    if kind == "s":
        return shared[int(written)]
    if kind == "b":
        return written == "1"
    return float(written) if kind == "n" else written


def read_row(place: str, cells: dict[str, Cell]) -> Row:
    fields: dict[str, object] = {
        name: unquote_text(cell) if isinstance(cell, str) else cell for name, cell in cells.items()
    }
    metadata = fields.get(Column.METADATA)
    if isinstance(metadata, str):
        try:
            fields[Column.METADATA] = msgspec.json.decode(metadata)
        except msgspec.DecodeError as error:
            return Unreadable(place, f"metadata: {error}")
    return Quoted(place, fields)
