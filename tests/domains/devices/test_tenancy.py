"""A device of another organization is as good as none, and a scope decides what may be done."""

import re
from typing import Any
from uuid import uuid4

import pytest

from tests.clients import StationClient, TestDevice, expect

MASKED = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\dT[\d:.]+Z|\d+\.\d\dms|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT"
)
REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PUT", "", {"name": "mine"}),
    ("PATCH", "", {"name": "mine"}),
    ("DELETE", "", None),
    ("DELETE", "?purge=true", None),
    ("GET", "/keys", None),
    ("POST", "/keys", {}),
    ("DELETE", "/keys/01a2014f-0000-7000-8000-000000000000", None),
    ("GET", "/readings", None),
    ("GET", "/readings?interval=1h", None),
    ("GET", "/readings/latest", None),
    ("GET", "/readings/stats", None),
    ("GET", "/refusals", None),
    ("POST", "/readings", {"sensor_type": "t", "value": 1}),
]
COUNTED = {"x-ratelimit-remaining", "x-ratelimit-reset"}
SCOPES = {"GET": "devices:read", "POST": "devices:write"}


def answer_of(client: StationClient, device_id: str, request: tuple[str, str, Any]) -> str:
    """Return status, headers and body with ids, times and the instance masked."""
    method, path, body = request
    answer = client.http.request(method, f"/api/v1/devices/{device_id}{path}", json=body)
    headers = "\n".join(
        f"{name}: {text}"
        for name, text in sorted(answer.headers.items())
        if name not in COUNTED  # what the caller has left, whatever they asked for
    )
    return MASKED.sub("*", f"{answer.status_code}\n{headers}\n{answer.text}")


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: f"{request[0]} {request[1]}")
def test_a_foreign_device_answers_exactly_like_a_missing_one(
    owner: StationClient, other_owner: StationClient, request_: tuple[str, str, Any]
) -> None:
    device = owner.register_device()
    owner.send(device, {"sensor_type": "t", "value": 1})
    foreign = answer_of(other_owner, device.id, request_)
    assert foreign.startswith("404")
    assert foreign == answer_of(other_owner, str(uuid4()), request_)
    assert owner.get(f"/api/v1/devices/{device.id}")["name"] == "greenhouse"
    assert owner.get(f"/api/v1/devices/{device.id}/readings")["items"] != []


def test_lists_and_queries_hold_nothing_of_a_stranger(
    client: StationClient, stranger: StationClient
) -> None:
    device = client.register_device()
    client.send(device, {"sensor_type": "t", "value": 1})
    assert stranger.get("/api/v1/devices", include_total="true")["total"] == 0
    for path in ("/readings", "/readings/latest", "/readings/stats"):
        queries: list[dict[str, Any]] = [{}, {"interval": "1h"}, {"device_id": device.id}]
        for query in queries:
            assert stranger.get(f"/api/v1{path}", **query)["items"] == []
            assert client.get(f"/api/v1{path}", **query)["items"] != []


def test_a_key_of_one_device_cannot_be_revoked_under_another(owner: StationClient) -> None:
    one, two = owner.register_device(), owner.register_device()
    (key,) = owner.get(f"/api/v1/devices/{one.id}/keys")["items"]
    expect(owner.http.delete(f"/api/v1/devices/{two.id}/keys/{key['id']}"), 404)
    owner.send(one, {"sensor_type": "t", "value": 1})


def as_key(client: StationClient, *scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.issue_user_key(*scopes)}"}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "", "devices:read"),
        ("PUT", "", "devices:write"),
        ("PATCH", "", "devices:write"),
        ("DELETE", "", "devices:write"),
        ("POST", "/keys", "devices:write"),
        ("GET", "/readings", "telemetry:read"),
        ("GET", "/readings/latest", "telemetry:read"),
        ("GET", "/readings/stats", "telemetry:read"),
        ("GET", "/refusals", "telemetry:read"),
        ("POST", "/readings", "telemetry:write"),
    ],
)
def test_each_request_needs_its_scope(
    owner: StationClient, method: str, path: str, scope: str
) -> None:
    device = owner.register_device()
    others = {"devices:read", "devices:write", "telemetry:read", "telemetry:write"} - {scope}
    bodies: dict[tuple[str, str], Any] = {
        ("PUT", ""): {"name": "x"},
        ("PATCH", ""): {"name": "x"},
        ("POST", "/readings"): {"sensor_type": "t", "value": 1},
        ("POST", "/keys"): {},
    }
    body = bodies.get((method, path))
    address = f"/api/v1/devices/{device.id}{path}"
    refused = owner.http.request(method, address, json=body, headers=as_key(owner, *others))
    assert refused.status_code == 403
    assert f'scope="{scope}"' in refused.headers["www-authenticate"]
    taken = owner.http.request(method, address, json=body, headers=as_key(owner, scope))
    assert taken.status_code < 300, taken.text


def test_a_viewer_sees_keys_without_secrets(owner: StationClient) -> None:
    """api.md: GET needs the read scope of its area."""
    device = owner.register_device()
    answer = owner.http.get(
        f"/api/v1/devices/{device.id}/keys", headers=as_key(owner, "devices:read")
    )
    (key,) = expect(answer, 200)["items"]
    assert device.api_key not in answer.text
    assert device.api_key.startswith(key["prefix"])


def of_device(
    client: StationClient, device: TestDevice, method: str, path: str, **more: Any
) -> int:
    return client.http.request(method, path, headers=device.headers, **more).status_code


def test_a_device_key_sees_and_speaks_for_its_own_device_only(client: StationClient) -> None:
    me, other = client.register_device(name="me"), client.register_device(name="other")
    reading = {"sensor_type": "t", "value": 1}
    client.send(other, reading)
    mine, theirs = f"/api/v1/devices/{me.id}", f"/api/v1/devices/{other.id}"
    assert of_device(client, me, "GET", mine) == 200
    for path in ("", "/readings", "/readings/latest", "/readings/stats", "/refusals"):
        assert of_device(client, me, "GET", f"{theirs}{path}") == 404
    assert of_device(client, me, "POST", f"{theirs}/readings", json=reading) == 404
    assert of_device(client, me, "POST", f"{theirs}/heartbeat", json={}) == 404
    assert of_device(client, me, "POST", "/api/v1/devices", json={"name": "x"}) == 403
    assert of_device(client, me, "PATCH", mine, json={"name": "x"}) == 403
    assert of_device(client, me, "DELETE", mine) == 403
    assert of_device(client, me, "GET", f"{mine}/keys") == 403
    assert of_device(client, me, "GET", "/api/v1/system/metrics") == 403
    listed = client.http.get("/api/v1/devices", headers=me.headers).json()["items"]
    assert [device["id"] for device in listed] == [me.id]
    for query in ("", f"?device_id={other.id}"):
        across = client.http.get(f"/api/v1/readings{query}", headers=me.headers).json()["items"]
        assert across == []
        latest = client.http.get(f"/api/v1/readings/latest{query}", headers=me.headers).json()
        assert latest["items"] == []


def test_a_user_cannot_send_a_device_s_heartbeat(client: StationClient) -> None:
    device = client.register_device()
    expect(client.http.post(f"/api/v1/devices/{device.id}/heartbeat", json={}), 403)
