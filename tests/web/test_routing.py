"""Routes know where they are, and are built by the first request that reaches them."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from fieldstation.main import ROUTERS
from fieldstation.web.routing import StationRoute, http_routes, mount, station_router

pytestmark = pytest.mark.anyio

router = station_router("/api/v1/things", tag="Things")


@router.get("/{thing_id}", status_code=203)
async def read_thing(thing_id: int) -> dict[str, int]:
    return {"thing_id": thing_id}


@pytest.fixture
def route() -> StationRoute:
    """A route that nobody has asked yet."""
    router.routes.clear()
    router.get("/{thing_id}", status_code=203)(read_thing)
    (found,) = http_routes([router])
    assert isinstance(found, StationRoute)
    return found


@pytest.fixture
async def client(route: StationRoute) -> AsyncIterator[AsyncClient]:
    app = FastAPI()
    mount(app, [router])
    assert route in app.routes
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://station") as client:
        yield client


def is_built(route: StationRoute) -> bool:
    return "dependant" in vars(route)


async def test_the_first_request_builds_a_route_and_others_do_not(
    client: AsyncClient, route: StationRoute
) -> None:
    assert (await client.get("/api/v1/things")).status_code == 404
    assert (await client.delete("/api/v1/things/7")).status_code == 405
    assert not is_built(route)
    for thing_id in (7, 8):
        answer = await client.get(f"/api/v1/things/{thing_id}")
        assert (answer.status_code, answer.json()) == (203, {"thing_id": thing_id})
    assert is_built(route)
    assert (await client.get("/api/v1/things/seven")).status_code == 422


def test_what_it_knows_before_it_is_built_is_what_it_has_then(route: StationRoute) -> None:
    names = ("path", "path_format", "methods", "name", "status_code", "endpoint", "path_regex")
    before = {name: getattr(route, name) for name in names}
    assert not is_built(route)
    assert route.dependant.path_params[0].name == "thing_id"
    assert {name: getattr(route, name) for name in names} == before
    assert route.operation_id is None
    assert route.unique_id == "thingsReadThing"


def test_what_no_route_has_is_missed_as_usual(route: StationRoute) -> None:
    assert not hasattr(route, "colour")
    assert is_built(route)
    assert not hasattr(route, "colour")


def test_every_route_of_the_station_can_be_built() -> None:
    for route in http_routes(ROUTERS):
        assert route.dependant.call is route.endpoint
