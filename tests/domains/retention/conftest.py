"""Two organizations with devices, a store with their readings, and what a node has of retention."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fieldstation.core.clock import Clock, ManualClock, instant_to_us
from fieldstation.core.settings import read_settings
from fieldstation.db.database import Database
from fieldstation.domains.audit.schemas import Actor
from fieldstation.domains.devices.schemas.devices import DeviceCreate
from fieldstation.domains.devices.schemas.groups import DeviceGroupCreate
from fieldstation.domains.devices.service import devices, groups
from fieldstation.domains.identity.schemas.callers import Caller
from fieldstation.domains.identity.service import organizations
from fieldstation.domains.retention.jobs import Retention, open_retention
from fieldstation.domains.retention.schemas import RetentionPlan, RetentionReplace
from fieldstation.domains.telemetry.ports import SeriesKey, SeriesRow
from fieldstation.domains.telemetry.sizing import SeriesSizes
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.contracts.reading_databases import START, reading_database
from tests.contracts.readings import DAY_US, Given, append

DAY = timedelta(days=1)
AN_HOUR_S = 3_600.0
GRACE_S = 3_601.0


class CountingStore(SqliteReadingStore):
    """Counts how often it lists series and deletes, and how many it measures at a time; each slice
    takes as long as a test says."""

    listed = 0
    slices = 0
    slice_s = 0.0

    def __init__(self, path: Path, *, node_id: str, clock: Clock) -> None:
        super().__init__(path, node_id=node_id, clock=clock)
        self.measured: list[int] = []

    async def sizes_of(
        self,
        series_ids: Sequence[int],
        *,
        raw_before_us: int | None,
        rollups_before_us: int | None,
    ) -> SeriesSizes:
        self.measured.append(len(series_ids))
        return await super().sizes_of(
            series_ids, raw_before_us=raw_before_us, rollups_before_us=rollups_before_us
        )

    async def find_series(self, *args: Any, **filters: Any) -> list[SeriesRow]:
        self.listed += 1
        return await super().find_series(*args, **filters)

    async def expire_slice(
        self,
        series_ids: Sequence[int],
        *,
        raw_before_us: int | None,
        rollups_before_us: int | None,
    ) -> bool:
        self.slices += 1
        if self.slice_s:
            clock = self._clock
            assert isinstance(clock, ManualClock)
            clock.advance(self.slice_s)
        return await super().expire_slice(
            series_ids, raw_before_us=raw_before_us, rollups_before_us=rollups_before_us
        )


class Field:
    """What the tests of a node's retention share."""

    def __init__(self, database: Database, store: CountingStore, clock: ManualClock) -> None:
        self.database = database
        self.store = store
        self.clock = clock

    def open(self, tmp_path: Path, **environment: str) -> Retention:
        """Open what one node has."""
        settings = read_settings({"DATA_DIR": str(tmp_path), **environment})
        return open_retention(self.database, self.store, clock=self.clock, settings=settings)

    async def organization(self, name: str) -> Caller:
        """Make an organization and return somebody who may do everything in it."""
        actor = Actor("user", "ada")
        async with self.database.transaction() as session:
            row = await organizations.add_organization(
                session, name=name, owner_id=None, actor=actor, now=self.clock.now()
            )
        return Caller(
            organization_id=row.id,
            user_id="ada",
            device_id=None,
            scopes=frozenset({"org:admin", "telemetry:read"}),
            superuser=False,
            subjects=frozenset(),
            expires_at=None,
            actor=actor,
        )

    async def device(self, caller: Caller, *tags: str) -> str:
        async with self.database.transaction() as session:
            form = DeviceCreate(name="pump", tags=list(tags))
            now = self.clock.now()
            made = devices.add_device(
                session, caller.organization_id, form, actor=caller.actor, now=now
            )
            return made.id

    async def tag(self, caller: Caller, device_id: str, *tags: str) -> None:
        async with self.database.transaction() as session:
            await devices.replace_device(
                session,
                caller,
                device_id,
                DeviceCreate(name="pump", tags=list(tags)),
                now=self.clock.now(),
            )

    async def group(self, caller: Caller, name: str, expression: str) -> str:
        async with self.database.transaction() as session:
            form = DeviceGroupCreate(name=name, tag_expression=expression)
            made = await groups.create_group(session, caller, form, now=self.clock.now())
            return made.id

    async def series(self, caller: Caller, device_id: str, sensor_type: str = "t") -> SeriesRow:
        key = SeriesKey(caller.organization_id, device_id, sensor_type, sensor_type)
        return (await self.store.resolve_series([key]))[0]

    async def fill(self, *series: SeriesRow, days: int) -> None:
        """Store a reading at noon of each of the last days, today's included, in chunks and rolled
        up; the hour of today's is over."""
        noon_us = instant_to_us(START)
        rows = [
            Given(row.id, noon_us - at * DAY_US, float(at)) for row in series for at in range(days)
        ]
        await append(self.store, rows)
        await self.store.flush()
        while await self.store.roll_up(before_us=noon_us + DAY_US):
            pass

    async def ages(self, row: SeriesRow) -> list[int]:
        """Return how many days ago, as the tests began, the readings of a series are from."""
        found: list[int] = []
        async for block in self.store.stream([row], start_us=0, end_us=1 << 53):
            found += [(instant_to_us(START) - ts_us) // DAY_US for ts_us in block.ts_us]
        return sorted(found)

    async def buckets(self, row: SeriesRow) -> list[int]:
        """Return the ages of the days that have a bucket."""
        midnight_us = instant_to_us(START) // DAY_US * DAY_US
        found = await self.store.buckets(
            [row],
            start_us=midnight_us - 400 * DAY_US,
            end_us=midnight_us + DAY_US,
            interval_us=DAY_US,
        )
        return sorted((midnight_us - bucket.start_us) // DAY_US for bucket in found)


async def put(
    node: Retention, caller: Caller, *rules: dict[str, Any], dry_run: bool = False
) -> RetentionPlan:
    """Replace an organization's list."""
    form = RetentionReplace.model_validate({"rules": rules})
    return await node.desk.replace(caller, form, dry_run=dry_run)


@pytest.fixture
async def field(own_database: Database, tmp_path: Path) -> AsyncIterator[Field]:
    """Empty databases and a clock that tests move."""
    path = tmp_path / "telemetry.db"
    async with reading_database(f"sqlite:///{path}") as readings:
        store = CountingStore(path, node_id="node-a", clock=readings.clock)
        await store.open()
        yield Field(own_database, store, readings.clock)
        await store.close()
