"""Newest readings from memory: what the general way says, for everybody who may and may not ask."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from starlette.types import Receive, Scope, Send

from fieldstation.main import ROUTERS
from fieldstation.web.hot_route import HotRoutes
from tests.clients import PASSWORD, StationClient, TestDevice, expect
from tests.planned_station import planned_station
from tests.station_process import StationProcess

ACROSS = "/api/v1/readings/latest"
GENERAL = "?general=way"
"""No parameter that means anything, but shortcuts leave every query to the routes."""
OWN = {
    "date",
    "x-request-id",
    "x-correlation-id",
    "x-process-time",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
}
FRESH = re.compile(rb'"(correlation_id|request_id|timestamp)":"[^"]*"')

Headers = Mapping[str, str]


def latest(device: TestDevice) -> str:
    return f"{device.readings_path}/latest"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Pair:
    """Asks both ways, with what a caller of any kind sends and nothing else."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=20)

    def ask(self, path: str, headers: Headers, *, method: str = "GET") -> httpx2.Response:
        """Ask twice the general way and twice the short one; return what all of them answered."""
        answers = [
            self._http.request(method, asked, headers=dict(headers))
            for asked in (f"{path}{GENERAL}", path, f"{path}{GENERAL}", path)
        ]
        assert len({shown(answer) for answer in answers}) == 1, [a.text for a in answers]
        return answers[-1]

    def close(self) -> None:
        self._http.close()


def shown(answer: httpx2.Response) -> Any:
    """Return what must not differ."""
    headers = {name: value for name, value in answer.headers.items() if name not in OWN}
    content = answer.content if answer.is_success else FRESH.sub(b"", answer.content)
    return answer.status_code, content, tuple(sorted(headers.items()))


@pytest.fixture
def both(station: StationProcess) -> Iterator[Pair]:
    pair = Pair(station.url)
    yield pair
    pair.close()


@pytest.fixture
def device(client: StationClient) -> TestDevice:
    """A device with readings of every kind."""
    device = client.register_device()
    readings = [
        {"sensor_type": "t", "value": 21.5, "unit": "°C", "metadata": {"ort": "Süd", "n": [1]}},
        {"sensor_type": "door", "value": True, "sensor_id": 'a"b\\'},
        {"sensor_type": "state", "value": "zu \u2028", "origin": "plc"},
    ]
    client.send(device, readings)
    return device


def session_of(client: StationClient, _device: TestDevice) -> Headers:
    return bearer(client.token)


def user_key(client: StationClient, _device: TestDevice) -> Headers:
    return bearer(client.issue_user_key("telemetry:read"))


def device_key(_client: StationClient, device: TestDevice) -> Headers:
    return device.headers


def cookie(client: StationClient, _device: TestDevice) -> Headers:
    return {"Cookie": f"other=1; session={client.token}"}


def with_organization(client: StationClient, _device: TestDevice) -> Headers:
    (organization,) = client.get("/api/v1/organizations")["items"]
    return {**bearer(client.token), "X-Organization": organization["slug"]}


Caller = Callable[[StationClient, TestDevice], Headers]
READERS: list[Caller] = [session_of, user_key, device_key, cookie, with_organization]


@pytest.mark.parametrize("caller", READERS)
def test_who_may_read_gets_the_same_bytes_either_way(
    client: StationClient, both: Pair, device: TestDevice, caller: Caller
) -> None:
    client.send(client.register_device(), {"sensor_type": "elsewhere", "value": 1})
    headers = caller(client, device)
    for path, series in ((latest(device), 3), (ACROSS, 3 if caller is device_key else 4)):
        answer = both.ask(path, headers)
        assert len(expect(answer, 200)["items"]) == series
        assert both.ask(path, headers, method="HEAD").content == b""


def nobody(_client: StationClient, _device: TestDevice) -> Headers:
    return {}


def stranger_to_us(client: StationClient, _device: TestDevice) -> Headers:
    with StationClient(client.url) as stranger:
        return bearer(stranger.sign_up().token)


def key_of_a_sibling(client: StationClient, _device: TestDevice) -> Headers:
    return client.register_device().headers


def key_without_the_scope(client: StationClient, _device: TestDevice) -> Headers:
    return bearer(client.issue_user_key("devices:read"))


def foreign_organization(client: StationClient, _device: TestDevice) -> Headers:
    return {**bearer(client.token), "X-Organization": "not-ours"}


def basic(client: StationClient, _device: TestDevice) -> Headers:
    return {"Authorization": f"Basic {client.token}", "Cookie": f"session={client.token}"}


@pytest.mark.parametrize(
    ("caller", "status", "status_across"),
    [
        (nobody, 401, 401),
        (basic, 401, 401),
        (key_without_the_scope, 403, 403),
        (foreign_organization, 404, 404),
        (stranger_to_us, 404, 200),
        (key_of_a_sibling, 404, 200),
    ],
)
def test_who_may_not_is_refused_alike_either_way(
    *,
    client: StationClient,
    both: Pair,
    device: TestDevice,
    caller: Caller,
    status: int,
    status_across: int,
) -> None:
    both.ask(latest(device), bearer(client.token))  # now the device is remembered
    headers = caller(client, device)
    assert both.ask(latest(device), headers).status_code == status
    across = both.ask(ACROSS, headers)
    assert across.status_code == status_across
    assert across.json().get("items", []) == []


def test_a_device_that_never_was_is_404(client: StationClient, both: Pair) -> None:
    for device_id in ("nobody", "ü%00", "a b"):
        answer = both.ask(f"/api/v1/devices/{device_id}/readings/latest", bearer(client.token))
        assert answer.status_code in {404, 422}


def test_a_newer_reading_is_shown_at_once_and_an_older_one_never(
    client: StationClient, both: Pair
) -> None:
    device = client.register_device()
    for second, value in ((10, 1), (11, 2), (5, 9), (12, 3)):
        client.send(
            device, {"sensor_type": "t", "value": value, "timestamp": 1_777_600_000 + second}
        )
        newest = 2 if value == 9 else value
        for path in (latest(device), ACROSS):
            items = both.ask(path, bearer(client.token)).json()["items"]
            assert [reading["value"] for reading in items] == [newest]


Ending = Callable[[StationClient, TestDevice], tuple[Headers, Callable[[], httpx2.Response], int]]


def revoked_user_key(client: StationClient, device: TestDevice) -> Any:
    headers = user_key(client, device)
    (key,) = client.get("/api/v1/auth/api-keys")["items"]
    return headers, lambda: client.http.delete(f"/api/v1/auth/api-keys/{key['id']}"), 401


def revoked_device_key(client: StationClient, device: TestDevice) -> Any:
    path = f"/api/v1/devices/{device.id}/keys"
    (key,) = client.get(path)["items"]
    return device.headers, lambda: client.http.delete(f"{path}/{key['id']}"), 401


def ended_session(client: StationClient, _device: TestDevice) -> Any:
    headers = bearer(client.token)
    return headers, lambda: client.http.post("/api/v1/auth/logout"), 401


def lost_membership(client: StationClient, _device: TestDevice) -> Any:
    (organization,) = client.get("/api/v1/organizations")["items"]
    members = f"/api/v1/organizations/{organization['id']}/members"
    with StationClient(client.url) as guest:
        guest.sign_up()
        joining = {"email": guest.email, "role": "viewer"}
        member = expect(client.http.post(members, json=joining), 201)
        headers = {**bearer(guest.token), "X-Organization": organization["slug"]}
    return headers, lambda: client.http.delete(f"{members}/{member['user_id']}"), 404


def deactivated_user(client: StationClient, _device: TestDevice) -> Any:
    form = {"email": f"viewer-{client.email}", "role": "viewer", "password": PASSWORD}
    user = expect(client.http.post("/api/v1/users", json=form), 201)
    signing_in = {"email": form["email"], "password": PASSWORD}
    token = expect(client.http.post("/api/v1/auth/login", json=signing_in), 200)["access_token"]
    return bearer(token), lambda: client.http.delete(f"/api/v1/users/{user['id']}"), 403


def deleted_device(client: StationClient, device: TestDevice) -> Any:
    headers = bearer(client.token)
    return headers, lambda: client.http.delete(f"/api/v1/devices/{device.id}"), 404


ENDINGS: list[Ending] = [
    revoked_user_key,
    revoked_device_key,
    ended_session,
    lost_membership,
    deactivated_user,
    deleted_device,
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_rights_that_end_end_at_once(
    client: StationClient, both: Pair, device: TestDevice, ending: Ending
) -> None:
    headers, end, status = ending(client, device)
    assert both.ask(latest(device), headers).status_code == 200
    assert end().is_success
    assert both.ask(latest(device), headers).status_code == status


async def nobody_there(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stand for FastAPI and everything behind it."""
    raise AssertionError("the shortcut left the request to the route")


@pytest.mark.anyio
async def test_the_usual_request_reaches_neither_fastapi_nor_a_database(tmp_path: Path) -> None:
    async with planned_station(tmp_path / "data") as station:
        _, device_id, key = await station.register_device()
        token = station.http.headers.pop("Authorization")
        path = f"/api/v1/devices/{device_id}/readings"
        reading = {"sensor_type": "t", "value": 1}
        await station.http.post(path, json=reading, headers=bearer(key))
        asked = [
            (wanted, {"Authorization": who})
            for wanted in (f"{path}/latest", ACROSS)
            for who in (token, f"Bearer {key}")
        ]
        in_full = [(await station.http.get(f"{p}{GENERAL}", headers=h)).content for p, h in asked]
        assert all(b'"value":1.0' in content for content in in_full)
        await station.runtime.database.close()
        app = FastAPI()
        for name, component in station.runtime.components().items():
            setattr(app.state, name, component)
        transport = ASGITransport(app=HotRoutes(nobody_there, station=app, routers=ROUTERS))
        async with AsyncClient(transport=transport, base_url="http://localhost") as http:
            shortly = [(await http.get(path, headers=headers)).content for path, headers in asked]
            assert shortly == in_full
            with pytest.raises(AssertionError, match="left the request"):
                await http.get(ACROSS)
