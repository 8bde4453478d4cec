"""Everything between a door and the disk in one process: intake, writer, a real store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fieldstation.core.clock import ManualClock
from fieldstation.core.settings import DatabaseSettings, TelemetrySettings
from fieldstation.db.database import Database
from fieldstation.db.engines import create_engines, database_url
from fieldstation.domains.telemetry.catalog import Catalog, DeviceSeries
from fieldstation.domains.telemetry.groups import Heartbeat
from fieldstation.domains.telemetry.intake import Intake
from fieldstation.domains.telemetry.payloads import Incoming, decode_readings
from fieldstation.domains.telemetry.ports import Columns
from fieldstation.domains.telemetry.quotas import ReadingQuotas
from fieldstation.domains.telemetry.service import IntakeDoor
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from fieldstation.domains.telemetry.writer import Committed, Writer
from fieldstation.migrations.upgrade import upgrade
from tests.planned_station import ReadingsPlan
from tests.station_database import ignore_event

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
ORGANIZATION = "organization"
DEVICE = "device"


@dataclass
class Receipt:
    """Counts what a connection was told; each has a hash of its own."""

    settled: int = 0
    failed: int = 0

    def settle(self, count: int) -> None:
        self.settled += count

    def fail(self, count: int) -> None:
        self.failed += count

    __hash__ = object.__hash__


@dataclass
class Pipeline:
    """One node's way from a door to the disk."""

    clock: ManualClock
    store: SqliteReadingStore
    catalog: Catalog
    intake: Intake
    door: IntakeDoor
    writer: Writer
    committed: list[Committed] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)

    async def take(
        self, *readings: dict[str, Any], device: str = DEVICE, organization: str = ORGANIZATION
    ) -> dict[str, Any]:
        """Do what the HTTP door does with a body."""
        body = msgspec.json.encode(readings)
        return await self.door.take(
            decode_readings(body),
            organization_id=organization,
            device_id=device,
            protocol="http",
        )

    async def series(self, device: str = DEVICE) -> DeviceSeries:
        return await self.catalog.load(ORGANIZATION, device)

    async def stored(self) -> Columns:
        """Return every stored reading of the organization, oldest first."""
        found = Columns()
        rows = await self.store.find_series(ORGANIZATION)
        async for block in self.store.stream(rows, start_us=0, end_us=1 << 60):
            for name in ("series_id", "ts_us", "value", "flags"):
                getattr(found, name).extend(getattr(block, name))
        return found


def incoming(*values: Any, sensor_type: str = "t", **fields: Any) -> Sequence[Incoming]:
    return [Incoming(value=value, sensor_type=sensor_type, **fields) for value in values]


@asynccontextmanager
async def pipeline(
    tmp_path: Path, *, writing: bool = True, **limits: Any
) -> AsyncIterator[Pipeline]:
    """Build it, with the writer running unless told otherwise; ``limits`` by environment name."""
    url = database_url(None, data_dir=tmp_path, file_name="telemetry.db")
    await upgrade(url, "telemetry")
    clock = ManualClock(START)
    settings = TelemetrySettings.model_validate(limits)
    store = SqliteReadingStore(tmp_path / "telemetry.db", node_id="node", clock=clock)
    await store.open()
    catalog, intake = Catalog(store), Intake(settings, clock)
    engines = create_engines(database_url(None, data_dir=tmp_path), DatabaseSettings())
    database = Database(engines, ignore_event)
    committed: list[Committed] = []
    heartbeats: list[Heartbeat] = []

    async def keep(found: Sequence[Heartbeat]) -> None:
        heartbeats.extend(found)

    built = Pipeline(
        clock=clock,
        store=store,
        catalog=catalog,
        intake=intake,
        door=IntakeDoor(
            catalog,
            intake,
            ReadingQuotas(ReadingsPlan(), database),
            settings.request_readings_max,
        ),
        writer=Writer(
            intake=intake,
            store=store,
            catalog=catalog,
            clock=clock,
            node_id="node",
            keep_heartbeats=keep,
            consumers=[committed.append],
        ),
        committed=committed,
        heartbeats=heartbeats,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(built.writer.write_forever(), name="writer")
            if not writing:
                running.cancel()
            yield built
            running.cancel()
    finally:
        await database.close()
        await store.close()
