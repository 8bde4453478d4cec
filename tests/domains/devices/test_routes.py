"""Devices through the door, on a real station."""

from datetime import datetime
from typing import Any

import pytest

from tests.clients import StationClient, expect

DEVICES = "/api/v1/devices"
FULL: dict[str, Any] = {
    "name": "Greenhouse 2",
    "device_type": "esp32",
    "description": "North wall",
    "location": {"label": "Greenhouse", "latitude": 52.52, "longitude": 13.405},
    "tags": ["b", "a"],
    "properties": {"board": "devkit-c", "pins": [1, 2], "deep": {"x": None}},
    "firmware_version": "1.4.0",
    "heartbeat_interval_s": 60,
}
DEFAULTS: dict[str, Any] = {
    "device_type": "generic",
    "description": None,
    "location": None,
    "tags": [],
    "properties": {},
    "firmware_version": None,
    "heartbeat_interval_s": 30,
}


def described(device: dict[str, Any]) -> dict[str, Any]:
    return {name: device[name] for name in FULL}


def listed(client: StationClient, **query: Any) -> list[str]:
    found = expect(client.http.get(DEVICES, params=query), 200)
    return [item["name"] for item in found["items"]]


def test_a_registered_device_shows_its_key_once(owner: StationClient) -> None:
    made = expect(owner.http.post(DEVICES, json={"name": "pump"}), 201)
    read = owner.get(f"{DEVICES}/{made['id']}")
    assert made["api_key"].startswith("fsd_")
    assert "api_key" not in read
    assert read["status"] == "unknown"


def test_a_device_is_read_as_it_was_registered(owner: StationClient) -> None:
    made = expect(owner.http.post(DEVICES, json=FULL), 201)
    read = owner.get(f"{DEVICES}/{made['id']}")
    assert described(read) == {**FULL, "tags": ["a", "b"]}
    assert {**read, "api_key": made["api_key"]} == made
    assert read["created_at"] == read["updated_at"]
    assert read["created_at"].endswith("Z")


def test_only_a_name_is_needed(owner: StationClient) -> None:
    made = expect(owner.http.post(DEVICES, json={"name": "  pump  "}), 201)
    assert described(made) == {"name": "pump", **DEFAULTS}


def test_put_describes_anew_and_patch_changes_only_what_is_sent(owner: StationClient) -> None:
    made = expect(owner.http.post(DEVICES, json=FULL), 201)
    path = f"{DEVICES}/{made['id']}"
    patched = expect(owner.http.patch(path, json={"tags": ["c"], "location": None}), 200)
    assert described(patched) == {**FULL, "tags": ["c"], "location": None}
    replaced = expect(owner.http.put(path, json={"name": "plain"}), 200)
    assert described(replaced) == {"name": "plain", **DEFAULTS}
    assert owner.get(path) == replaced
    assert replaced["created_at"] == made["created_at"]
    assert datetime.fromisoformat(replaced["updated_at"]) > datetime.fromisoformat(
        made["updated_at"]
    )


def test_a_patch_that_changes_nothing_leaves_the_device_as_it_was(owner: StationClient) -> None:
    made = expect(owner.http.post(DEVICES, json=FULL), 201)
    path = f"{DEVICES}/{made['id']}"
    same: list[dict[str, Any]] = [{}, {"name": FULL["name"]}, {"tags": ["b", "a"]}]
    for nothing in same:
        expect(owner.http.patch(path, json=nothing), 200)
    assert owner.get(path)["updated_at"] == made["updated_at"]


@pytest.mark.parametrize(
    "name", ["name", "device_type", "tags", "properties", "heartbeat_interval_s"]
)
def test_what_a_device_always_has_cannot_become_null(owner: StationClient, name: str) -> None:
    device = owner.register_device()
    answer = owner.http.patch(f"{DEVICES}/{device.id}", json={name: None})
    assert expect(answer, 422)["errors"][0]["loc"] == ["body", name]


@pytest.mark.parametrize("name", ["description", "location", "firmware_version"])
def test_the_rest_can(owner: StationClient, name: str) -> None:
    made = expect(owner.http.post(DEVICES, json=FULL), 201)
    answer = owner.http.patch(f"{DEVICES}/{made['id']}", json={name: None})
    assert expect(answer, 200)[name] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 101},
        {"device_type": "toaster"},
        {"description": "x" * 2001},
        {"tags": [""]},
        {"tags": ["-x"]},
        {"tags": ["x" * 51]},
        {"tags": [f"t{n}" for n in range(51)]},
        {"location": {"latitude": 90.1}},
        {"location": {"longitude": -180.1}},
        {"location": {"planet": "Mars"}},
        {"firmware_version": "x" * 51},
        {"heartbeat_interval_s": 0},
        {"heartbeat_interval_s": 86_401},
        {"properties": {"x": "y" * 16_384}},
        {"properties": []},
        {"colour": "red"},
        {"id": "mine"},
    ],
)
def test_what_is_not_allowed_is_refused_by_every_method(
    owner: StationClient, fields: dict[str, Any]
) -> None:
    device = owner.register_device()
    before = owner.get(f"{DEVICES}/{device.id}")
    expect(owner.http.post(DEVICES, json={"name": "x", **fields}), 422)
    expect(owner.http.put(f"{DEVICES}/{device.id}", json={"name": "x", **fields}), 422)
    expect(owner.http.patch(f"{DEVICES}/{device.id}", json=fields), 422)
    assert owner.get(f"{DEVICES}/{device.id}") == before


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a\\u0000b"}',
        b'{"name": "a", "description": "\\u0000"}',
        b'{"name": "a", "firmware_version": "\\u0000"}',
        b'{"name": "a", "location": {"label": "\\u0000"}}',
        b'{"name": "\\ud800"}',
        b'{"name": "a", "properties": {"x": "\\ud800"}}',
        b'{"name": "a", "properties": {"x": NaN}}',
        b'{"name": "a", "properties": {"x": 1e999}}',
        b'{"name": "a", "properties": {"x": ' + b"[" * 40 + b"]" * 40 + b"}}",
        b'{"name": "a", "location": {"latitude": NaN}}',
    ],
)
def test_what_no_database_holds_is_refused_with_a_reason(
    client: StationClient, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.http.post(DEVICES, content=body, headers=headers)
    assert answer.status_code in {400, 413, 422}, answer.text[:300]
    assert listed(client) == []


def test_properties_may_fill_their_limit(owner: StationClient) -> None:
    properties = {"x": "y" * (16_384 - len('{"x":""}'))}
    device = owner.register_device(properties=properties)
    assert owner.get(f"{DEVICES}/{device.id}")["properties"] == properties


def test_the_list_is_newest_first(client: StationClient) -> None:
    for name in "abc":
        client.register_device(name=name)
    assert listed(client) == ["c", "b", "a"]


def test_filters_narrow_the_list_and_its_total(client: StationClient) -> None:
    client.register_device(name="Pump 100%", device_type="esp32", tags=["north", "wet"])
    client.register_device(name="pump_2", description="beside the FAN", tags=["north"])
    client.register_device(name="Fan", device_type="esp32", tags=["south"])
    assert listed(client, device_type="esp32") == ["Fan", "Pump 100%"]
    assert listed(client, tag="north") == ["pump_2", "Pump 100%"]
    assert listed(client, tag="nor") == []
    assert listed(client, q="pump") == ["pump_2", "Pump 100%"]
    assert listed(client, q="fan") == ["Fan", "pump_2"]
    assert listed(client, q="100%") == ["Pump 100%"]
    assert listed(client, q="_") == ["pump_2"]
    assert listed(client, q="%") == ["Pump 100%"]
    assert listed(client, tag="north", device_type="esp32") == ["Pump 100%"]
    found = client.get(DEVICES, tag="north", include_total="true", limit=1)
    assert (found["total"], len(found["items"])) == (2, 1)


def test_the_status_follows_the_last_message(client: StationClient) -> None:
    silent, heard = client.register_device(name="silent"), client.register_device(name="heard")
    expect(client.http.post(f"{DEVICES}/{heard.id}/heartbeat", json={}, headers=heard.headers), 200)
    assert listed(client, status="unknown") == ["silent"]
    assert listed(client, status="online") == ["heard"]
    assert listed(client, status="offline") == []
    assert client.get(f"{DEVICES}/{silent.id}")["status"] == "unknown"
    assert client.get(f"{DEVICES}/{heard.id}")["status"] == "online"
    assert listed(client, last_seen_before="2999-01-01T00:00:00Z") == ["heard"]
    assert listed(client, last_seen_before="2020-01-01T00:00:00+02:00") == []


@pytest.mark.parametrize(
    "query",
    [
        {"status": "asleep"},
        {"device_type": "toaster"},
        {"last_seen_before": "yesterday"},
        {"tag": "x" * 51},
        {"q": "x" * 101},
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    owner: StationClient, query: dict[str, str]
) -> None:
    expect(owner.http.get(DEVICES, params=query), 422)


def test_a_time_without_a_zone_is_utc_or_refused(client: StationClient) -> None:
    answer = client.http.get(DEVICES, params={"last_seen_before": "2026-01-01T00:00:00"})
    assert answer.status_code in {200, 422}, answer.text[:300]


@pytest.mark.parametrize("name", ["q", "tag"])
def test_a_filter_with_a_null_character_finds_nothing_or_is_refused(
    client: StationClient, name: str
) -> None:
    client.register_device()
    answer = client.http.get(DEVICES, params={name: "\x00"})
    assert answer.status_code == 422 or answer.json()["items"] == [], answer.text[:300]


def test_deleting_ends_the_device_and_its_key(client: StationClient) -> None:
    device = client.register_device()
    expect(client.http.delete(f"{DEVICES}/{device.id}"), 204)
    client.get(f"{DEVICES}/{device.id}", status=404)
    expect(client.http.delete(f"{DEVICES}/{device.id}"), 404)
    assert listed(client) == []
    client.send(device, {"sensor_type": "t", "value": 1}, status=401)
