"""How a key ends: with a result or none, with one too large, after a day, without a database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.responses import Response as Answer

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Busy, StationError
from fieldstation.core.settings import DatabaseSettings, Settings
from fieldstation.db.database import Database
from fieldstation.db.engines import create_engines, database_url
from fieldstation.db.idempotency import IdempotencyKeys
from fieldstation.migrations.upgrade import upgrade
from fieldstation.web.idempotency import RESULT_BYTES_MAX, Idempotency
from fieldstation.web.middleware import FrontDoor, Observed, door_rules
from fieldstation.web.problems import install_problem_handlers
from fieldstation.web.rate_limits import Known, Recognise
from fieldstation.web.routing import mount, station_router

pytestmark = pytest.mark.anyio


class Keys(IdempotencyKeys):
    """The station's own; the database can go away behind a claim."""

    away = False

    async def give_back(self, digest: str) -> None:
        if self.away:
            raise Busy("away")
        await super().give_back(digest)

    async def keep(self, digest: str, *, status: int, body: bytes | None) -> None:
        if self.away:
            raise Busy("away")
        await super().keep(digest, status=status, body=body)


class Station:
    """One route that makes things, behind the keys, on a real database."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.clock = clock
        self.keys = Keys(database, clock)
        self.made = 0
        self.size = 10
        self.error: StationError | None = None
        router = station_router()
        router.post("/things", status_code=201)(self.make)
        app = FastAPI()
        mount(app, [router])
        install_problem_handlers(app)
        keyed = Idempotency(
            app,
            keys=self.keys,
            recognise=Recognise(lambda _headers: None, lambda _token: None, self.nobody),
            routers=[router],
            wait_s=0.1,
        )
        observed: list[Observed] = []
        door = FrontDoor(keyed, door_rules(Settings()), observe=observed.append)
        transport = ASGITransport(app=door, raise_app_exceptions=False)
        self.client = AsyncClient(transport=transport, base_url="http://station.test")

    async def nobody(self, _token: str) -> Known | None:
        return None

    async def make(self, _request: Request) -> Answer:
        if self.error is not None:
            raise self.error
        self.made += 1
        content = b'"' + b"x" * (self.size - 2) + b'"'
        return Answer(content, status_code=201, media_type="application/json")

    async def post(self) -> Response:
        return await self.client.post("/things", headers={"Idempotency-Key": "k"}, content=b"{}")


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    url = database_url(None, data_dir=tmp_path)
    await upgrade(url, "station")
    database = Database(create_engines(url, DatabaseSettings()), lambda _event: None)
    yield Station(database, ManualClock(datetime(2026, 5, 1, tzinfo=UTC)))
    await database.close()


async def test_a_result_is_repeated_for_a_day_and_then_made_anew(station: Station) -> None:
    assert (await station.post()).status_code == 201
    station.clock.advance(24 * 3600 - 1)
    assert (await station.post()).headers["idempotency-replayed"] == "true"
    assert station.made == 1
    station.clock.advance(1)
    assert "idempotency-replayed" not in (await station.post()).headers
    assert station.made == 2


async def test_keys_that_are_over_are_deleted(station: Station) -> None:
    await station.post()
    station.clock.advance(24 * 3600)
    await station.keys.purge()
    assert "idempotency-replayed" not in (await station.post()).headers


async def test_a_request_whose_end_nobody_knows_is_not_done_again(station: Station) -> None:
    station.keys.away = True
    assert (await station.post()).status_code == 201
    station.keys.away = False
    again = await station.post()
    assert (again.status_code, again.json()["error"]) == (409, "idempotency_unfinished")
    assert station.made == 1


async def test_a_result_too_large_to_keep_is_told_to_be_done(station: Station) -> None:
    station.size = RESULT_BYTES_MAX
    await station.post()
    assert (await station.post()).headers["idempotency-replayed"] == "true"
    station.clock.advance(24 * 3600)
    station.size += 1
    assert (await station.post()).status_code == 201
    again = await station.post()
    assert (again.status_code, again.json()["error"]) == (409, "idempotency_result_too_large")
    assert station.made == 2


async def test_a_key_that_could_not_be_freed_is_free_when_the_database_is_back(
    station: Station,
) -> None:
    station.keys.away = True
    station.error = Busy("away")
    assert (await station.post()).status_code == 503
    assert (await station.post()).status_code == 503
    station.keys.away, station.error = False, None
    assert (await station.post()).status_code == 201
    assert (await station.post()).headers["idempotency-replayed"] == "true"
    assert station.made == 1
