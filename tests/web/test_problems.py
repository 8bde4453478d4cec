"""Every refusal is the same kind of document, whoever refuses, and tells nothing of the inside."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from pydantic import BaseModel

from fieldstation.core import errors
from fieldstation.core.limits import BODY_BYTES_MAX
from fieldstation.core.settings import Settings
from fieldstation.web.middleware import FrontDoor, Observed, door_rules
from fieldstation.web.problems import STATUS_OF_KIND, install_problem_handlers, status_of
from tests.clients import StationClient
from tests.station_process import running_station

MEMBERS = {
    *("type", "title", "status", "detail", "instance", "error", "message"),
    *("correlation_id", "request_id", "timestamp"),
}
INSIDE = ("Traceback", 'File "', "sqlalchemy", "sqlite3", "asyncpg", "SELECT", "site-packages")


def problem(answer: Response, status: int, error: str) -> dict[str, Any]:
    """Return the problem of an answer after checking what every problem has."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() >= MEMBERS
    assert body["status"] == status
    assert body["error"] == error
    assert body["type"] == f"urn:fieldstation:error:{error}"
    assert body["message"] == body["detail"] != ""
    assert body["instance"] == answer.request.url.path
    assert body["correlation_id"] == answer.headers["x-correlation-id"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["timestamp"].endswith("Z")
    assert not any(sign in answer.text for sign in INSIDE)
    return body


def test_json_that_cannot_be_read_is_400(client: StationClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/api/v1/devices", content=b'{"name":', headers=headers)
    problem(answer, 400, "malformed")


def test_nobody_is_401_with_a_challenge(client: StationClient) -> None:
    with httpx2.Client(base_url=client.url) as nobody:
        answer = nobody.get("/api/v1/devices")
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["x", "fsd_" + "a" * 43, "fsu_", "a.b.c", "ü", "fsd_\u00fc"])
def test_every_wrong_token_is_the_same_401(client: StationClient, token: str) -> None:
    headers = {b"Authorization": f"Bearer {token}".encode()}
    body = problem(client.http.get("/api/v1/devices", headers=headers), 401, "unauthenticated")
    missing = client.http.get("/api/v1/devices", headers={"Authorization": "Bearer x"}).json()
    assert body["detail"] == missing["detail"]


def test_a_missing_scope_is_403_and_named(client: StationClient) -> None:
    key = client.issue_user_key("devices:read")
    headers = {"Authorization": f"Bearer {key}"}
    answer = client.http.post("/api/v1/devices", json={"name": "x"}, headers=headers)
    problem(answer, 403, "insufficient_scope")
    assert (
        answer.headers["www-authenticate"]
        == 'Bearer error="insufficient_scope", scope="devices:write"'
    )


def test_nothing_there_is_404(client: StationClient) -> None:
    problem(client.http.get("/api/v1/nothing"), 404, "not_found")
    problem(client.http.get("/api/v1/devices/missing"), 404, "not_found")


def test_a_wrong_method_is_405_and_says_which_are_right(client: StationClient) -> None:
    answer = client.http.put("/api/v1/readings")
    problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


def test_one_key_too_many_is_409(client: StationClient) -> None:
    device = client.register_device()
    for _ in range(24):
        assert client.http.post(f"/api/v1/devices/{device.id}/keys", json={}).status_code == 201
    answer = client.http.post(f"/api/v1/devices/{device.id}/keys", json={})
    assert problem(answer, 409, answer.json()["error"])["detail"].endswith(".")


def test_a_body_over_the_limit_is_413_announced_or_not(client: StationClient) -> None:
    device = client.register_device()
    size = BODY_BYTES_MAX + (1 << 20)

    def chunks() -> Iterator[bytes]:
        for _ in range(size >> 16):
            yield b" " * (1 << 16)

    headers = {"Content-Type": "application/json", **device.headers}
    for content in (b" " * size, chunks()):
        answer = client.http.post(device.readings_path, content=content, headers=headers)
        problem(answer, 413, "too_large")
    assert client.send(device, {"sensor_type": "after", "value": 1})["accepted"] == 1


def test_a_body_over_the_limit_is_413_on_every_route(client: StationClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range((BODY_BYTES_MAX >> 16) + 16):
            yield b" " * (1 << 16)

    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/api/v1/devices", content=chunks(), headers=headers)
    problem(answer, 413, "too_large")


def test_a_body_at_the_limit_is_read(client: StationClient) -> None:
    device = client.register_device()
    body = b'{"sensor_type": "t", "value": 1}'.ljust(BODY_BYTES_MAX)
    answer = client.http.post(device.readings_path, content=body, headers=device.headers)
    assert answer.status_code == 201


def test_an_unknown_encoding_is_415(client: StationClient) -> None:
    device = client.register_device()
    headers = {**device.headers, "Content-Encoding": "br"}
    answer = client.http.post(device.readings_path, content=b"x", headers=headers)
    problem(answer, 415, "unsupported_media_type")


def test_values_that_are_not_allowed_are_422_each_with_its_place(client: StationClient) -> None:
    form = {"name": "", "colour": "red", "location": {"latitude": 91}, "tags": ["a b"]}
    body = problem(client.http.post("/api/v1/devices", json=form), 422, "validation_error")
    places = {".".join(map(str, fault["loc"])) for fault in body["errors"]}
    assert places == {"body.name", "body.colour", "body.location.latitude", "body.tags.0"}
    assert all(set(fault) == {"loc", "msg", "type"} for fault in body["errors"])


def test_a_batch_that_never_fits_into_the_queue_is_413_and_stores_nothing(tmp_path: Path) -> None:
    environment = {"INTAKE_QUEUE_READINGS_MAX": "100"}
    with (
        running_station(tmp_path / "data", environment=environment) as station,
        StationClient(station.url) as client,
    ):
        device = client.sign_up().register_device()
        readings = [{"sensor_type": "t", "value": n} for n in range(51)]
        answer = client.http.post(device.readings_path, json=readings, headers=device.headers)
        body = problem(answer, 413, "too_many_readings")
        assert "in parts" in body["detail"]
        assert "retry-after" not in answer.headers
        assert client.get(device.readings_path)["items"] == []
        assert client.send(device, readings[:50])["accepted"] == 50


class Form(BaseModel):
    """A body of these tests."""

    name: str


@pytest.fixture
async def broken() -> AsyncClient:
    """A client of an application whose routes raise every kind, and what no kind is."""
    app = FastAPI()
    install_problem_handlers(app)
    kinds = {kind.__name__: kind for kind in (*STATUS_OF_KIND, Unplaced)}

    @app.get("/kinds/{name}")
    async def raise_kind(name: str) -> None:
        kind = kinds[name]
        if kind in {errors.TooManyRequests, errors.Busy}:
            raise kind("A sentence.", retry_after_s=3)
        raise kind("A sentence.")

    @app.get("/defect")
    async def defect() -> None:
        raise RuntimeError("the secret is hunter2")

    @app.get("/late-defect")
    async def late_defect() -> dict[str, object]:
        return {"cannot": object()}

    @app.post("/form")
    async def take(form: Form) -> Form:
        return form

    observed: list[Observed] = []
    wrapped = FrontDoor(app, door_rules(Settings()), observe=observed.append)
    transport = ASGITransport(app=wrapped, raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url="http://station.test")


class Unplaced(errors.StationError):
    """A kind that nobody put into the table."""

    default_code = "unplaced"


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "status"), STATUS_OF_KIND.items())
async def test_each_kind_has_its_status(
    broken: AsyncClient, kind: type[errors.StationError], status: int
) -> None:
    answer = await broken.get(f"/kinds/{kind.__name__}")
    body = problem(answer, status, kind.default_code)
    assert body["detail"] == "A sentence."
    assert ("retry-after" in answer.headers) == (status in {429, 503})
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.anyio
async def test_a_kind_that_nobody_placed_is_500(broken: AsyncClient) -> None:
    problem(await broken.get("/kinds/Unplaced"), 500, "unplaced")
    assert status_of(Unplaced("x")) == 500


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/defect", "/late-defect"])
async def test_a_defect_is_500_and_tells_nothing(broken: AsyncClient, path: str) -> None:
    answer = await broken.get(path)
    problem(answer, 500, "internal")
    assert "hunter2" not in answer.text
    UUID(answer.headers["x-request-id"])
    assert answer.headers["x-process-time"].endswith("ms")


@pytest.mark.anyio
async def test_a_body_that_is_no_json_is_400_and_a_wrong_one_422(broken: AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    problem(await broken.post("/form", content=b"{", headers=headers), 400, "malformed")
    answer = await broken.post("/form", content=json.dumps({"name": 5}), headers=headers)
    problem(answer, 422, "validation_error")
