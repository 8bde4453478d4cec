"""Notes of who was heard from are saved in one go, and never lost to a database that is away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Busy
from fieldstation.db.database import Database
from fieldstation.db.engines import database_url
from fieldstation.domains.audit.schemas import STATION
from fieldstation.domains.devices.last_seen import LastSeen
from fieldstation.domains.devices.models import Device
from fieldstation.domains.devices.schemas.devices import DeviceCreate
from fieldstation.domains.devices.service import devices as service
from fieldstation.domains.identity.service import organizations
from tests.station_database import empty_database

pytestmark = pytest.mark.anyio

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = database_url(None, data_dir=tmp_path)
    async with empty_database(url, pool_timeout_s=0.1) as database:
        yield database


async def register(database: Database) -> str:
    async with database.transaction() as session:
        organization = await organizations.ensure_first_organization(
            session, name="Harbour", now=START
        )
        form = DeviceCreate(name="pump")
        device = service.add_device(session, organization.id, form, actor=STATION, now=START)
        return device.id


async def last_seen_at(database: Database, device_id: str) -> datetime | None:
    async with database.reading() as session:
        return await session.scalar(select(Device.last_seen_at).where(Device.id == device_id))


async def test_the_newest_note_is_saved(database: Database) -> None:
    clock = ManualClock(START)
    seen, device_id = LastSeen(database, clock), await register(database)
    for _ in range(3):
        seen.note(device_id)
        clock.advance(1)
    assert await seen.flush() == 1
    assert (await last_seen_at(database, device_id)) == datetime(2026, 5, 1, 12, 0, 2, tzinfo=UTC)
    assert await seen.flush() == 0


async def test_it_never_moves_back(database: Database) -> None:
    device_id = await register(database)
    ahead, behind = ManualClock(START), ManualClock(START)
    ahead.advance(60)
    for clock in (ahead, behind):
        seen = LastSeen(database, clock)
        seen.note(device_id)
        await seen.flush()
    assert await last_seen_at(database, device_id) == ahead.now()


async def test_a_device_that_is_gone_disturbs_nobody(database: Database) -> None:
    seen, device_id = LastSeen(database, ManualClock(START)), await register(database)
    seen.note("gone")
    seen.note(device_id)
    assert await seen.flush() == 2
    assert await last_seen_at(database, device_id) == START


async def test_notes_outlive_a_database_that_is_away(database: Database) -> None:
    clock = ManualClock(START)
    seen, device_id = LastSeen(database, clock), await register(database)
    other_id = await register(database)
    seen.note(device_id)
    async with database.transaction() as session:
        await session.execute(select(1))  # holds the only connection that writes
        with pytest.raises(Busy):
            await seen.flush()
    clock.advance(5)
    seen.note(other_id)
    assert await seen.flush() == 2
    assert await last_seen_at(database, device_id) == START
