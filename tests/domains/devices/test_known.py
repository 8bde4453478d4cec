"""Which devices exist, from memory: never one that is gone, never another's, never too many."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fieldstation.core.errors import NotFound
from fieldstation.db.database import Database
from fieldstation.db.engines import database_url
from fieldstation.domains.audit.schemas import STATION
from fieldstation.domains.devices.known import KnownDevices
from fieldstation.domains.devices.schemas.devices import DeviceCreate
from fieldstation.domains.devices.service import devices as service
from fieldstation.domains.identity.schemas import TenantScope
from fieldstation.domains.identity.service import organizations
from tests.domains.devices.test_last_seen import START
from tests.station_database import empty_database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with empty_database(database_url(None, data_dir=tmp_path)) as database:
        yield database


async def register(database: Database, devices: int = 1) -> tuple[TenantScope, list[str]]:
    async with database.transaction() as session:
        organization = await organizations.ensure_first_organization(
            session, name="Harbour", now=START
        )
        form = DeviceCreate(name="pump")
        made = [
            service.add_device(session, organization.id, form, actor=STATION, now=START).id
            for _ in range(devices)
        ]
        return TenantScope(organization.id), made


async def test_a_device_is_remembered_once_it_was_asked_for(database: Database) -> None:
    known = KnownDevices(database)
    scope, (device_id,) = await register(database)
    assert not known.remembers(scope, device_id)
    await known.require(scope, device_id)
    assert known.remembers(scope, device_id)


async def test_one_that_is_missing_is_not_remembered(database: Database) -> None:
    known = KnownDevices(database)
    scope, _ = await register(database)
    with pytest.raises(NotFound):
        await known.require(scope, "nobody")
    assert not known.remembers(scope, "nobody")


async def test_another_organization_or_device_does_not_see_it(database: Database) -> None:
    known = KnownDevices(database)
    scope, (device_id,) = await register(database)
    await known.require(scope, device_id)
    other_device = TenantScope(scope.organization_id, frozenset({"other"}))
    for foreign in (TenantScope("other"), other_device):
        assert not known.remembers(foreign, device_id)
        with pytest.raises(NotFound):
            await known.require(foreign, device_id)
    itself = TenantScope(scope.organization_id, frozenset({device_id}))
    assert known.remembers(itself, device_id)


async def test_one_that_is_deleted_while_it_is_looked_up_is_not_remembered(
    database: Database,
) -> None:
    known = KnownDevices(database)
    scope, (device_id,) = await register(database)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(known.require(scope, device_id))
        await asyncio.sleep(0)  # it waits for the database now
        assert not looking.done()
        known.forget(device_id)
    assert not known.remembers(scope, device_id)
    await known.require(scope, device_id)
    assert known.remembers(scope, device_id)


async def test_beyond_the_limit_the_one_unasked_for_longest_is_dropped(database: Database) -> None:
    known = KnownDevices(database, devices_max=2)
    scope, (first, second, third) = await register(database, devices=3)
    for device_id in (first, second):
        await known.require(scope, device_id)
    assert known.remembers(scope, first)
    await known.require(scope, third)
    assert [known.remembers(scope, d) for d in (first, second, third)] == [True, False, True]
