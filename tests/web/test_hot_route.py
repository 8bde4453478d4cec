"""Routes ahead of FastAPI: what a shortcut answers, and what it leaves to the route."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request, Response
from httpx2 import ASGITransport, AsyncClient

from fieldstation.core.errors import NotFound
from fieldstation.web.hot_route import HotRoutes, shortcut
from fieldstation.web.routing import mount, station_router

pytestmark = pytest.mark.anyio


async def short(request: Request) -> Response | None:
    wanted = request.path_params["wanted"]
    if wanted == "missing":
        raise NotFound("There is no such thing.")
    if request.scope["query_string"]:
        return None
    return Response(f"{wanted} of {request.app.title}, shortly")


router = station_router("/things")


@router.get("/{wanted}")
@shortcut(short)
async def read_thing(wanted: str) -> str:
    return f"{wanted}, in full"


@router.get("/{wanted}/parts")
async def read_parts(wanted: str) -> str:
    return f"parts of {wanted}"


@pytest.fixture
async def http() -> AsyncIterator[AsyncClient]:
    station = FastAPI(title="the station")
    mount(station, [router])
    app = HotRoutes(station, station=station, routers=[router])
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://test") as http:
        yield http


async def test_a_shortcut_answers_ahead_of_the_route(http: AsyncClient) -> None:
    assert (await http.get("/things/one")).text == "one of the station, shortly"


async def test_the_route_answers_what_the_shortcut_leaves(http: AsyncClient) -> None:
    assert (await http.get("/things/one?all=true")).json() == "one, in full"


async def test_what_a_shortcut_refuses_is_a_problem(http: AsyncClient) -> None:
    answer = await http.get("/things/missing")
    assert (answer.status_code, answer.json()["instance"]) == (404, "/things/missing")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/things/one", "/things/one/parts"])
async def test_other_methods_and_paths_pass(http: AsyncClient, path: str) -> None:
    assert (await http.post(path)).status_code == 405
    assert (await http.get("/things/one/parts")).json() == "parts of one"
