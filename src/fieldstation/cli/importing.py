"""Reads files and has the running station take their rows in, a bounded batch at a time."""

import asyncio
import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from fieldstation.adapters.control import ask_station
from fieldstation.adapters.data_directory import DataDirectory
from fieldstation.core.errors import Busy, Invalid, StationError
from fieldstation.core.settings import Settings
from fieldstation.domains.exports.formats import reader_of
from fieldstation.domains.exports.ports import Quoted, Row, Unreadable
from fieldstation.domains.exports.schemas import ExportFormat

BATCH_ROWS_MAX = 1_000
BATCH_BYTES_MAX = 512 * 1024
ROW_BYTES_MAX = 64 * 1024
RETRIES_MAX = 30
RETRY_AFTER_S = 2.0
PASSING = frozenset({"queue_full", "busy", "database_unavailable", "disk_full"})
FIELDS = (
    *("device_id", "timestamp", "sensor_type", "sensor_id", "value", "unit"),
    *("origin", "source_protocol", "metadata"),
)
REJECTED_SHOWN_MAX = 100
SUFFIXES = {
    ".csv": ExportFormat.CSV,
    ".jsonl": ExportFormat.JSONL,
    ".ndjson": ExportFormat.JSONL,
    ".parquet": ExportFormat.PARQUET,
    ".xlsx": ExportFormat.XLSX,
}


@dataclass(slots=True)
class Devices:
    """Which device of the station is meant by an id of a file: by its id or name, or a new one."""

    named: dict[str, str] = field(default_factory=dict)
    create: bool = False
    known: dict[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """Rows that are sent together, and where they stand in the file."""

    rows: list[msgspec.Raw] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    faults: list[tuple[str, str, str]] = field(default_factory=list)


class Import:
    """One file on its way into one organization."""

    def __init__(
        self,
        socket: Path,
        organization_id: str,
        devices: Devices,
        *,
        dry_run: bool,
        report: IO[bytes] | None,
    ) -> None:
        self._socket = socket
        self._organization_id = organization_id
        self._devices = devices
        self._dry_run = dry_run
        self._report = report
        self.counts: Counter[str] = Counter()
        self.done = 0
        """The last row whose fate is known: all before it are stored or rejected."""

    async def run(self, path: Path, rows: Iterable[Row], *, from_row: int) -> None:
        """Send the rows of a file. Raises ``StationError``."""
        numbered = itertools.islice(enumerate(rows, start=1), from_row - 1, None)
        self.done = from_row - 1
        groups = groups_of(numbered)
        while group := await asyncio.to_thread(next, groups, None):
            await self._send(path, group)
            self.done = group[-1][0]

    async def _send(self, path: Path, group: Sequence[tuple[int, Row]]) -> None:
        await self._match([row for _, row in group])
        batch = Batch()
        for _, row in group:
            self._add(batch, row)
        if batch.rows:
            answer = await self._ask("import.rows", rows=batch.rows, dry_run=self._dry_run)
            self.counts["stored"] += answer["accepted"]
            self.counts["duplicates"] += answer["duplicates"]
            batch.faults += [
                (batch.places[at], error, detail) for at, error, detail in answer["rejected"]
            ]
        for place, error, detail in batch.faults:
            self._reject(path, place, error, detail)

    def _add(self, batch: Batch, row: Row) -> None:
        if isinstance(row, Unreadable):
            batch.faults.append((row.place, "unreadable", row.detail))
            return
        named = device_of(row)
        device_id = self._devices.known.get(named)
        if named and device_id is None:
            detail = (
                f"device {named[:40]} is not here; use --create-devices, or --device to name one."
            )
            batch.faults.append((row.place, "unknown_device", detail))
            return
        batch.rows.append(encoded(row, device_id))
        batch.places.append(row.place)

    async def _match(self, rows: Sequence[Row]) -> None:
        devices = self._devices
        names = set(filter(None, map(device_of, rows)))
        wanted = {name: devices.named.get(name, name) for name in names - devices.known.keys()}
        if wanted:
            create = devices.create and not self._dry_run
            found = await self._ask("import.match", wanted=wanted, create=create)
            if devices.create and self._dry_run:
                found = {name: meant or name for name, meant in found.items()}
            devices.known |= found

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        """Ask again what the station cannot take now. Raises ``StationError``."""
        arguments["organization_id"] = self._organization_id
        for _ in range(RETRIES_MAX):
            try:
                return await ask(self._socket, operation, arguments)
            except StationError as error:
                if error.code not in PASSING:
                    raise
            await asyncio.sleep(RETRY_AFTER_S)
        return await ask(self._socket, operation, arguments)

    def _reject(self, path: Path, place: str, error: str, detail: str) -> None:
        kind = "conflicts" if error == "timestamp_conflict" else "rejected"
        self.counts[kind] += 1
        shown = self.counts["rejected"] + self.counts["conflicts"]
        if shown <= REJECTED_SHOWN_MAX:
            print(f"{path}, {place}: {error}: {detail}", file=sys.stderr)
        if self._report is not None:
            fault = {"file": str(path), "place": place, "error": error, "detail": detail}
            self._report.write(msgspec.json.encode(fault) + b"\n")


def run_import(
    settings: Settings,
    files: Sequence[Path],
    *,
    organization: str | None,
    devices: Devices,
    dry_run: bool,
    from_row: int,
    report: Path | None,
) -> int:
    """Import files one after the other; return how many rows were rejected."""
    kinds = {path: kind_of(path) for path in files}
    socket = DataDirectory(settings.station.data_dir).control_socket
    begun = asyncio.run(ask(socket, "import.begin", {"organization": organization}))
    faults = 0
    with contextlib.ExitStack() as open_files:
        written = None if report is None else open_files.enter_context(report.open("wb"))
        for path, kind in kinds.items():
            one = Import(socket, begun["id"], devices, dry_run=dry_run, report=written)
            try:
                asyncio.run(one.run(path, reader_of(kind)(path), from_row=from_row))
            except (StationError, KeyboardInterrupt):
                print(told(path, one, begun["name"], dry_run=dry_run), file=sys.stderr)
                print(f"To go on: --from-row {one.done + 1}", file=sys.stderr)
                raise
            print(told(path, one, begun["name"], dry_run=dry_run))
            faults += one.counts["rejected"] + one.counts["conflicts"]
    return faults


def told(path: Path, done: Import, organization: str, *, dry_run: bool) -> str:
    counts = done.counts
    stored = "could be stored (duplicates not looked for)" if dry_run else "stored"
    return (
        f"{path} → {organization}: {counts['stored']} {stored}, {counts['duplicates']} duplicates,"
        f" {counts['conflicts']} conflicts, {counts['rejected']} rejected."
    )


def kind_of(path: Path) -> ExportFormat:
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise Invalid(f"{path}: name the file .csv, .jsonl, .parquet or .xlsx, as its format is.")
    return kind


async def ask(socket: Path, operation: str, arguments: Mapping[str, Any]) -> Any:
    try:
        return await ask_station(socket, operation, arguments)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise Busy(
            f"No station runs in {socket.parent}; start one with fieldstation serve.",
            code="no_station",
        ) from error


def groups_of(rows: Iterable[tuple[int, Row]]) -> Iterator[list[tuple[int, Row]]]:
    """Yield as many rows as are sent together."""
    group: list[tuple[int, Row]] = []
    size = 0
    for number, found in rows:
        row, length = measured(found)
        if group and (len(group) == BATCH_ROWS_MAX or size + length > BATCH_BYTES_MAX):
            yield group
            group = list[tuple[int, Row]]()
            size = 0
        group.append((number, row))
        size += length
    if group:
        yield group


def measured(row: Row) -> tuple[Row, int]:
    """Return a row with its length as it is sent; one that is too long is not sent."""
    if isinstance(row, Unreadable):
        return row, 0
    try:
        length = len(encoded(row, None))
    except (TypeError, ValueError, OverflowError) as error:
        return Unreadable(row.place, str(error)), 0
    if length > ROW_BYTES_MAX:
        return Unreadable(row.place, f"longer than {ROW_BYTES_MAX // 1024} KiB."), 0
    return row, length


def encoded(row: Quoted, device_id: str | None) -> msgspec.Raw:
    fields = {name: row.fields[name] for name in FIELDS if name in row.fields}
    if device_id is not None:
        fields["device_id"] = device_id
    return msgspec.Raw(msgspec.json.encode(fields))


def device_of(row: Row) -> str:
    """Return the id in a file, empty where there is none."""
    return "" if isinstance(row, Unreadable) else str(row.fields.get("device_id") or "")
