"""A request that creates something is done once, however often it is sent."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import pytest

from tests.clients import PASSWORD, StationClient, expect

REPLAYED = "idempotency-replayed"


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def devices(client: StationClient) -> int:
    return int(client.get("/api/v1/devices", include_total=True)["total"])


def test_the_same_request_again_gets_the_first_result_without_its_secret(
    client: StationClient,
) -> None:
    body, headers = {"name": "once"}, keyed(uuid4().hex)
    first = client.http.post("/api/v1/devices", json=body, headers=headers)
    again = client.http.post("/api/v1/devices", json=body, headers=headers)
    made, repeated = expect(first, 201), expect(again, 201)
    assert made["api_key"].startswith("fsd_")
    assert repeated == {**made, "api_key": None}
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert devices(client) == 1


def test_another_body_with_the_same_key_is_a_conflict(client: StationClient) -> None:
    headers = keyed(uuid4().hex)
    expect(client.http.post("/api/v1/devices", json={"name": "one"}, headers=headers), 201)
    answer = client.http.post("/api/v1/devices", json={"name": "two"}, headers=headers)
    assert expect(answer, 409)["error"] == "idempotency_key_reused"
    assert devices(client) == 1


def test_sent_many_times_at_once_it_is_done_once(client: StationClient) -> None:
    headers = {**client.http.headers, **keyed(uuid4().hex)}
    url = f"{client.url}/api/v1/devices"

    def send(_number: int) -> httpx2.Response:
        return httpx2.post(url, json={"name": "race"}, headers=headers, timeout=20)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(send, range(8)))
    ids = {expect(answer, 201)["id"] for answer in found}
    assert len(ids) == 1
    assert sum(REPLAYED not in answer.headers for answer in found) == 1
    assert devices(client) == 1


def test_keys_of_other_callers_and_other_paths_are_other_keys(
    client: StationClient, stranger: StationClient
) -> None:
    headers = keyed(uuid4().hex)
    body = {"name": "mine"}
    one = expect(client.http.post("/api/v1/devices", json=body, headers=headers), 201)
    two = expect(stranger.http.post("/api/v1/devices", json=body, headers=headers), 201)
    path = f"/api/v1/devices/{one['id']}/keys"
    key = expect(client.http.post(path, json=body, headers=headers), 201)
    assert one["id"] != two["id"]
    assert key["api_key"].startswith("fsd_")


@pytest.mark.parametrize(
    ("path", "body", "secret"),
    [
        ("/api/v1/auth/api-keys", {"name": "k", "scopes": ["devices:read"]}, "api_key"),
        ("/api/v1/users", {"email": "E", "role": "viewer"}, "password"),
        ("/api/v1/organizations", {"name": "Another"}, None),
        ("/api/v1/auth/register", {"email": "E", "password": PASSWORD}, None),
    ],
)
def test_every_route_that_creates_takes_a_key(
    client: StationClient, path: str, body: dict[str, object], secret: str | None
) -> None:
    if body.get("email") == "E":
        body = {**body, "email": f"{uuid4().hex}@example.org"}
    headers = keyed(uuid4().hex)
    first = expect(client.http.post(path, json=body, headers=headers), 201)
    again = client.http.post(path, json=body, headers=headers)
    assert again.headers[REPLAYED] == "true"
    expected = first if secret is None else {**first, secret: None}
    assert expect(again, 201) == expected
    assert secret is None or first[secret]


def test_readings_without_a_timestamp_are_stored_once(client: StationClient) -> None:
    device = client.register_device()
    headers = {**device.headers, **keyed(uuid4().hex)}
    for _ in range(3):
        body = {"sensor_type": "t", "value": 1}
        answer = client.http.post(device.readings_path, json=body, headers=headers)
        assert expect(answer, 201)["accepted"] == 1
    assert len(client.get(device.readings_path)["items"]) == 1


def test_an_answer_as_long_as_any_is_repeated(client: StationClient) -> None:
    device = client.register_device()
    future = {"sensor_type": "t", "value": 1, "timestamp": "2199-01-01T00:00:00Z"}
    body = [{"sensor_type": "t", "value": 0}, *[future] * 9_999]
    headers = {**device.headers, **keyed(uuid4().hex)}
    first = client.http.post(device.readings_path, json=body, headers=headers)
    again = client.http.post(device.readings_path, json=body, headers=headers)
    assert len(expect(first, 201)["rejected"]) == 9_999
    assert expect(again, 201) == first.json()
    assert again.headers[REPLAYED] == "true"
    assert len(client.get(device.readings_path)["items"]) == 1


def test_a_refused_request_leaves_its_key_free(client: StationClient) -> None:
    headers = keyed(uuid4().hex)
    refused = client.http.post("/api/v1/devices", json={"name": ""}, headers=headers)
    assert refused.status_code == 422
    expect(client.http.post("/api/v1/devices", json={"name": "ok"}, headers=headers), 201)


@pytest.mark.parametrize("key", ["a b", "x" * 256, "", "\u00fc"])
def test_a_key_that_is_none_is_malformed(client: StationClient, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    answer = client.http.post("/api/v1/devices", json={"name": "x"}, headers=headers)
    assert expect(answer, 400)["error"] == "malformed"
    assert devices(client) == 0
