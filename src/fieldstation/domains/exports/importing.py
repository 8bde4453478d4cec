"""Takes exported readings in again, through the same intake as a device's: nothing is stored twice.

Whether a reading is an anomaly is decided anew, from what comes before it here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fieldstation.core.clock import Clock, parse_time
from fieldstation.core.errors import Invalid, NotFound
from fieldstation.db.database import Database, Session
from fieldstation.domains.devices import adoption
from fieldstation.domains.devices.service import devices
from fieldstation.domains.identity.ports import Quota
from fieldstation.domains.identity.schemas import TenantScope
from fieldstation.domains.telemetry.catalog import DeviceSeries
from fieldstation.domains.telemetry.payloads import (
    Incoming,
    Rejection,
    check_labels,
    check_time,
    check_value,
    encode_metadata,
    take_content,
)
from fieldstation.domains.telemetry.service import IntakeDoor, summary

ROWS_MAX = 2_000
PROTOCOL_CHARACTERS_MAX = 20
UNKNOWN_PROTOCOL = "import"
READ_FIELDS = ("value", "sensor_type", "sensor_id", "unit", "timestamp", "origin", "metadata")


class Fault(NamedTuple):
    """Why a row was not stored."""

    row: int
    error: str
    detail: str


class Run(NamedTuple):
    """Neighbouring rows of one device that came by one protocol."""

    device_id: str
    protocol: str
    rows: list[int]
    readings: list[dict[str, Any]]


@dataclass(slots=True)
class Taken:
    """What became of some rows."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Fault] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": [list(fault) for fault in sorted(self.rejected)],
        }


class Importer:
    """Takes rows of one organization; a row is a reading as the export writes it."""

    def __init__(self, database: Database, door: IntakeDoor, *, quota: Quota, clock: Clock) -> None:
        self._database = database
        self._door = door
        self._quota = quota
        self._clock = clock

    async def match(
        self, organization_id: str, wanted: Mapping[str, str], *, create: bool
    ) -> dict[str, str | None]:
        """Return which device is meant by each id of a file; None where none is.

        ``wanted`` says by which id or name. With ``create`` a device is made under the file's id
        where there is none. Raises ``Conflict``, ``QuotaExceeded``, ``Invalid``.
        """
        async with self._database.transaction() as session:
            found = await adoption.match_devices(session, organization_id, wanted)
            missing = [name for name, meant in found.items() if meant is None]
            if create and missing:
                await self._create(session, organization_id, wanted, missing)
                found |= {name: name for name in missing if wanted[name] == name}
        return found

    async def _create(
        self,
        session: Session,
        organization_id: str,
        wanted: Mapping[str, str],
        missing: Sequence[str],
    ) -> None:
        for device_id in missing:
            if wanted[device_id] != device_id:
                raise NotFound(
                    f"No device, or more than one, has the id or name {wanted[device_id][:100]}."
                )
        await self._quota.check(session, organization_id, devices.METRIC, adding=len(missing))
        for device_id in missing:
            await adoption.adopt_device(session, organization_id, device_id, now=self._clock.now())

    async def take(
        self, organization_id: str, rows: Sequence[Mapping[str, Any]], *, dry_run: bool
    ) -> dict[str, Any]:
        """Return ``{accepted, duplicates, rejected: [[row, error, detail]]}`` after the commit.

        With ``dry_run`` nothing is stored, and duplicates are not looked for. Raises ``Busy`` and
        ``TooManyRequests`` when nothing of it may be stored now; all of it may be sent again.
        """
        if len(rows) > ROWS_MAX:
            raise Invalid(f"{len(rows)} rows are more than {ROWS_MAX}; send them in parts.")
        taken = Taken()
        runs = runs_of(rows, taken)
        if dry_run:
            self._try(runs, taken)
            return taken.answer()
        self._door.intake.make_sure_of_store()
        await self._door.quotas.check(organization_id)
        known = await self._devices(organization_id, {run.device_id for run in runs})
        await asyncio.gather(*[self._offer(run, known, taken) for run in runs])
        return taken.answer()

    async def _devices(self, organization_id: str, device_ids: set[str]) -> dict[str, DeviceSeries]:
        scope = TenantScope(organization_id)
        async with self._database.reading() as session:
            for device_id in device_ids:
                await devices.require_device(session, scope, device_id)
        return {
            device_id: await self._door.catalog.load(organization_id, device_id)
            for device_id in device_ids
        }

    async def _offer(self, run: Run, known: Mapping[str, DeviceSeries], taken: Taken) -> None:
        """Offer a run; up to the commit nothing is awaited, so runs keep their order."""
        decoded = take_content(run.readings, "JSON")
        start, count, rejected = self._door.intake.offer(
            known[run.device_id],
            decoded.readings,
            protocol=run.protocol,
            positions=decoded.positions,
        )
        faults = [
            {"index": fault.index, "error": fault.error, "detail": fault.detail}
            for fault in sorted((*decoded.rejected, *rejected))
        ]
        outcomes = await self._door.intake.wait_for(start, count) if count else b""
        result = summary(outcomes, decoded, faults)
        taken.accepted += result["accepted"]
        taken.duplicates += result["duplicates"]
        taken.rejected += [
            Fault(run.rows[fault["index"]], fault["error"], fault["detail"])
            for fault in result["rejected"]
        ]

    def _try(self, runs: Sequence[Run], taken: Taken) -> None:
        now_us = self._clock.now_us()
        for run in runs:
            decoded = take_content(run.readings, "JSON")
            found = list(decoded.rejected)
            positions = decoded.positions or range(len(decoded.readings))
            for index, reading in zip(positions, decoded.readings, strict=True):
                fault = fault_of(reading, now_us)
                if fault is not None:
                    found.append(fault._replace(index=index))
            taken.accepted += len(run.rows) - len(found)
            taken.rejected += [
                Fault(run.rows[fault.index], fault.error, fault.detail) for fault in found
            ]


def runs_of(rows: Sequence[Mapping[str, Any]], taken: Taken) -> list[Run]:
    """Sort rows by device and protocol, each device's in their order; reject what has no device or
    no time, which would otherwise get the time of receipt."""
    runs: list[Run] = []
    open_runs: dict[str, Run] = {}
    for at, row in enumerate(rows):
        device_id, protocol = row.get("device_id"), protocol_of(row)
        if not isinstance(device_id, str):
            taken.rejected.append(Fault(at, "no_device", "device_id: every row needs one."))
            continue
        if row.get("timestamp") is None:
            taken.rejected.append(Fault(at, "no_timestamp", "timestamp: every row needs one."))
            continue
        run = open_runs.get(device_id)
        if run is None or run.protocol != protocol:
            run = open_runs[device_id] = Run(device_id, protocol, [], [])
            runs.append(run)
        run.rows.append(at)
        run.readings.append({name: row[name] for name in READ_FIELDS if name in row})
    return runs


def protocol_of(row: Mapping[str, Any]) -> str:
    named = row.get("source_protocol")
    if not isinstance(named, str) or not 0 < len(named) <= PROTOCOL_CHARACTERS_MAX:
        return UNKNOWN_PROTOCOL
    return named if named.isprintable() else UNKNOWN_PROTOCOL


def fault_of(reading: Incoming, now_us: int) -> Rejection | None:
    """Return what the intake would reject a reading for."""
    found = check_labels(reading) or check_value(reading.value)
    if found is None and reading.timestamp is not None:
        found = check_time(parse_time(reading.timestamp), now_us)
    if found is None and reading.metadata:
        encoded = encode_metadata(reading.metadata)
        found = encoded if isinstance(encoded, Rejection) else None
    return found
