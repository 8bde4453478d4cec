"""Every number and size that a client chooses has an end, and says so instead of cutting."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients import StationClient, expect
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess, running_station

DEVICE: dict[str, Any] = {"name": "x"}
LONG_PERIOD = {"start": "2000-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}


def deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x" * 101},
        {"description": "x" * 2_001},
        {"tags": [f"t{number}" for number in range(51)]},
        {"tags": ["x" * 51]},
        {"properties": {"x": "x" * 16_384}},
        {"location": {"label": "x" * 201}},
        {"location": {"latitude": 91}},
        {"firmware_version": "x" * 51},
        {"heartbeat_interval_s": 86_401},
    ],
)
def test_a_device_s_description_has_an_end(client: StationClient, fields: dict[str, Any]) -> None:
    refused = client.http.post("/api/v1/devices", json={**DEVICE, **fields})
    assert refused.status_code == 422, refused.text
    (error,) = refused.json()["errors"]
    assert error["loc"][1] == next(iter(fields))


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/readings", {"sensor_type": ["t"] * 101}),
        ("/readings", {"sensor_id": ["t"] * 101}),
        ("/readings", {"device_id": ["t"] * 101}),
        ("/readings", {"sensor_type": "t" * 101}),
        ("/readings", {"limit": 10_001}),
        ("/readings", {"cursor": "x" * 201}),
        ("/readings", {"start": "10000-01-01T00:00:00Z"}),
        ("/readings", {"interval": "1s", **LONG_PERIOD}),
        ("/readings", {"interval": "1h", "aggregate": "avg," * 26}),
        ("/devices", {"limit": 201}),
        ("/devices", {"q": "x" * 101}),
        ("/devices", {"sort": "name," * 100}),
        ("/users", {"q": "x" * 101}),
        ("/users", {"limit": 0}),
    ],
)
def test_a_question_has_an_end(client: StationClient, path: str, query: dict[str, Any]) -> None:
    client.send(client.register_device(), {"sensor_type": "t", "value": 1})
    answer = client.http.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "reading",
    [
        {"sensor_type": "t" * 51},
        {"sensor_id": "t" * 101},
        {"value": "x" * 1_025},
        {"unit": "x" * 21},
        {"origin": "x" * 21},
        {"metadata": {"x": "x" * 4_096}},
        {"anything": "x" * 4_096},
    ],
)
def test_a_reading_has_an_end(client: StationClient, reading: dict[str, Any]) -> None:
    device = client.register_device()
    client.send(device, {"sensor_type": "t", "value": 1, **reading}, status=422)
    assert client.get(device.readings_path)["items"] == []


def test_a_body_is_only_so_deep(client: StationClient) -> None:
    device = client.register_device()
    for levels, statuses in ((27, (201, 201)), (40, (413, 413))):
        reading = {"sensor_type": "t", "value": levels, "metadata": {"x": deep(levels)}}
        answer = client.http.post(device.readings_path, json=[reading], headers=device.headers)
        described = {**DEVICE, "properties": {"x": deep(levels)}}
        registered = client.http.post("/api/v1/devices", json=described)
        assert (answer.status_code, registered.status_code) == statuses, answer.text


def test_a_device_has_so_many_series_and_so_many_keys(client: StationClient) -> None:
    device = client.register_device()
    client.send(device, [{"sensor_type": f"t{number}", "value": 1} for number in range(1_000)])
    one_more = client.send(device, {"sensor_type": "one-more", "value": 1}, status=422)
    assert one_more["rejected"][0]["error"] == "too_many_series"
    client.send(device, {"sensor_type": "t7", "value": 2})
    keys = f"/api/v1/devices/{device.id}/keys"
    for _ in range(24):
        expect(client.http.post(keys, json={}), 201)
    assert expect(client.http.post(keys, json={}), 409)["error"] == "too_many"


def test_an_organization_has_so_many_devices_and_so_many_members(tmp_path: Path) -> None:
    bounds = {"DEVICES_PER_ORGANIZATION_MAX": "3", "MEMBERS_PER_ORGANIZATION_MAX": "2"}
    with (
        running_station(tmp_path / "data", environment=bounds) as station,
        StationClient(station.url) as owner,
        StationClient(station.url) as other,
    ):
        for client in (owner.sign_up(), other.sign_up()):
            made = [client.register_device() for _ in range(3)]
            refused = expect(client.http.post("/api/v1/devices", json=DEVICE), 402)
            assert (refused["error"], refused["metric"]) == ("quota_exceeded", "devices")
            assert (refused["limit"], refused["used"]) == (3, 3)
            expect(client.http.delete(f"/api/v1/devices/{made[0].id}"), 204)
            client.register_device()
        hired = {"email": f"hired-{owner.email}"}
        expect(owner.http.post("/api/v1/users", json=hired), 201)
        organization = owner.get("/api/v1/organizations")["items"][0]["id"]
        for path in ("/api/v1/users", f"/api/v1/organizations/{organization}/members"):
            form = {"email": other.email, "role": "viewer"}
            refused = expect(owner.http.post(path, json=form), 402)
            assert (refused["metric"], refused["limit"], refused["used"]) == ("members", 2, 2)


def test_an_mqtt_client_has_so_many_subscriptions_and_levels(
    station: StationProcess, client: StationClient
) -> None:
    key = client.issue_user_key("telemetry:read", "telemetry:write")
    with MqttClient(station.mqtt_port, client.email, key, version=5) as mqtt:
        for number in range(256):
            assert mqtt.subscribe(f"a/{number}") == 1
        assert mqtt.subscribe("a/256") == 0x97
        mqtt.publish("/".join("a" * 32), "x")
        mqtt.send("/".join("a" * 33), "x")
        mqtt.wait_until_closed()


def test_neither_paths_nor_methods_of_strangers_become_labels(client: StationClient) -> None:
    for method, path in (("FORGED", "/health"), ("GET", "/forged/4711"), ("GET", "/docs/4711")):
        assert client.http.request(method, path).status_code in {400, 404, 405}
    exposed = client.http.get("/metrics").text
    assert "FORGED" not in exposed
    assert "/4711" not in exposed
