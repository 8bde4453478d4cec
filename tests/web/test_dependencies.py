"""A request's transaction commits before its answer leaves, so a failure reaches the client."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import select, text

from fieldstation.core.events import Event
from fieldstation.core.settings import DatabaseSettings, Settings
from fieldstation.db.database import Database, announce
from fieldstation.db.engines import create_engines, database_url
from fieldstation.db.jobs import Job
from fieldstation.migrations.upgrade import upgrade
from fieldstation.web.dependencies import Db, ReadDb
from fieldstation.web.middleware import FrontDoor, Observed, door_rules
from fieldstation.web.problems import install_problem_handlers

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Noted(Event, frozen=True, kw_only=True, tag=True):
    """A fact of these tests."""

    name: str


class Station:
    """An application on a real database, and what it announced."""

    def __init__(self, database: Database, told: list[Event]) -> None:
        self.database = database
        self.told = told
        app = FastAPI()
        app.state.database = database
        install_problem_handlers(app)
        app.post("/notes/{name}", status_code=201)(self.note)
        app.post("/broken/{name}", status_code=201)(self.break_transaction)
        app.post("/read-only/{name}", status_code=201)(self.note_in_a_reading_session)
        observed: list[Observed] = []
        door = FrontDoor(app, door_rules(Settings()), observe=observed.append)
        transport = ASGITransport(app=door, raise_app_exceptions=False)
        self.client = AsyncClient(transport=transport, base_url="http://station.test")

    async def note(self, name: str, db: Db) -> dict[str, str]:
        db.add(Job(name=name, due_at=NOW))
        announce(db, Noted(name=name))
        return {"noted": name}

    async def break_transaction(self, name: str, db: Db) -> dict[str, str]:
        """Note it, then lose the connection that would commit."""
        db.add(Job(name=name, due_at=NOW))
        await db.flush()
        announce(db, Noted(name=name))
        backend = await db.scalar(text("SELECT pg_backend_pid()"))
        async with self.database.transaction() as other:
            await other.execute(text(f"SELECT pg_terminate_backend({int(backend or 0)})"))
        return {"noted": name}

    async def note_in_a_reading_session(self, name: str, db: ReadDb) -> dict[str, str]:
        db.add(Job(name=name, due_at=NOW))
        await db.commit()
        return {"noted": name}

    async def holds(self, name: str) -> bool:
        async with self.database.reading() as session:
            return await session.scalar(select(Job.name).where(Job.name == name)) is not None


@pytest.fixture(params=["sqlite", "postgresql"])
async def station(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Station]:
    address = None
    if request.param == "postgresql":
        address = request.getfixturevalue("postgresql_url")
    url = database_url(address, data_dir=tmp_path)
    await upgrade(url, "station")
    told: list[Event] = []
    database = Database(create_engines(url, DatabaseSettings()), told.append)
    yield Station(database, told)
    await database.close()


async def test_an_answer_means_committed_and_announced(station: Station) -> None:
    name = uuid4().hex
    answer = await station.client.post(f"/notes/{name}")
    assert answer.status_code == 201
    assert station.told == [Noted(name=name)]
    assert await station.holds(name)


async def test_a_commit_that_a_constraint_stops_reaches_the_client(station: Station) -> None:
    name = uuid4().hex
    await station.client.post(f"/notes/{name}")
    again = await station.client.post(f"/notes/{name}")
    assert again.status_code == 500
    assert "noted" not in again.json()
    assert station.told == [Noted(name=name)]


async def test_a_commit_on_a_lost_connection_reaches_the_client(station: Station) -> None:
    if station.database.dialect == "sqlite":
        assert (await station.client.post("/broken/x")).status_code == 500  # no such function
        return
    name = uuid4().hex
    answer = await station.client.post(f"/broken/{name}")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert station.told == []
    assert not await station.holds(name)


async def test_a_reading_session_cannot_store(station: Station) -> None:
    name = uuid4().hex
    answer = await station.client.post(f"/read-only/{name}")
    assert answer.status_code in {500, 503}
    assert not await station.holds(name)
