"""Keys of devices: more than one for a rotation, and none a second after it is revoked."""

from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from tests.clients import StationClient, TestDevice, expect
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

REVOKED_WITHIN_S = 1.0
READING = {"sensor_type": "t", "value": 1}


def keys_path(device: TestDevice) -> str:
    return f"/api/v1/devices/{device.id}/keys"


def revoke_all(client: StationClient, device: TestDevice) -> float:
    """Revoke the device's keys; return when that was done."""
    for key in client.get(keys_path(device))["items"]:
        expect(client.http.delete(f"{keys_path(device)}/{key['id']}"), 204)
    return monotonic()


def status_with(client: StationClient, device: TestDevice) -> int:
    answer = client.http.post(device.readings_path, json=READING, headers=device.headers)
    return answer.status_code


def test_a_device_changes_keys_without_a_pause(owner: StationClient) -> None:
    old = owner.register_device()
    (first,) = owner.get(keys_path(old))["items"]
    issued = expect(owner.http.post(keys_path(old), json={"name": "May"}), 201)
    new = TestDevice(old.id, issued["api_key"])
    assert status_with(owner, old) == status_with(owner, new) == 201
    expect(owner.http.delete(f"{keys_path(old)}/{first['id']}"), 204)
    wait_until_blocking(lambda: status_with(owner, old) == 401, timeout_s=REVOKED_WITHIN_S)
    assert status_with(owner, new) == 201
    (left,) = owner.get(keys_path(old))["items"]
    assert (left["id"], left["name"]) == (issued["id"], "May")
    expect(owner.http.delete(f"{keys_path(old)}/{first['id']}"), 404)


def test_a_list_of_keys_tells_no_secret(owner: StationClient) -> None:
    device = owner.register_device()
    expect(owner.http.post(keys_path(device), json={}), 201)
    found = owner.get(keys_path(device))["items"]
    assert [key["name"] for key in found] == ["first key", "key"]
    assert all("api_key" not in key and len(key["prefix"]) < 15 for key in found)


@pytest.mark.parametrize(
    "form",
    [
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"name": ""},
        {"scopes": ["devices:write"]},
        {"expires_at": "soon"},
    ],
)
def test_a_key_that_makes_no_sense_is_refused(owner: StationClient, form: dict[str, str]) -> None:
    device = owner.register_device()
    expect(owner.http.post(keys_path(device), json=form), 422)


def test_an_expiry_without_a_zone_is_utc_or_refused(owner: StationClient) -> None:
    device = owner.register_device()
    answer = owner.http.post(keys_path(device), json={"expires_at": "2999-01-01T00:00:00"})
    assert answer.status_code in {201, 422}, answer.text[:300]


def test_a_key_ends_at_its_expiry(owner: StationClient) -> None:
    device = owner.register_device()
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    issued = expect(owner.http.post(keys_path(device), json={"expires_at": soon}), 201)
    short_lived = TestDevice(device.id, issued["api_key"])
    assert status_with(owner, short_lived) == 201
    wait_until_blocking(lambda: status_with(owner, short_lived) == 401, timeout_s=3)
    assert status_with(owner, device) == 201


def test_a_revoked_key_is_refused_over_http_within_a_second(owner: StationClient) -> None:
    device = owner.register_device()
    assert status_with(owner, device) == 201  # remembered from now on
    revoke_all(owner, device)
    wait_until_blocking(lambda: status_with(owner, device) == 401, timeout_s=REVOKED_WITHIN_S)


def test_an_open_mqtt_connection_ends_within_a_second_of_its_key(
    station: StationProcess, client: StationClient
) -> None:
    device = client.register_device()
    with MqttClient(station.mqtt_port, device.id, device.api_key) as mqtt:
        mqtt.publish(f"devices/{device.id}/readings", READING)
        revoked_at = revoke_all(client, device)
        mqtt.wait_until_closed(timeout_s=REVOKED_WITHIN_S)
        assert monotonic() - revoked_at < REVOKED_WITHIN_S
    with MqttClient(station.mqtt_port, device.id, device.api_key) as again:
        assert again.refused is not None


def test_an_open_socket_ends_within_a_second_of_its_key(
    station: StationProcess, client: StationClient
) -> None:
    key = client.issue_user_key("telemetry:read")
    with live(station.url, token=key) as socket:
        assert socket.ping()["type"] == "pong"
        (found,) = client.get("/api/v1/auth/api-keys")["items"]
        expect(client.http.delete(f"/api/v1/auth/api-keys/{found['id']}"), 204)
        revoked_at = monotonic()
        assert socket.wait_until_closed() == (1008, "credential revoked")
        assert monotonic() - revoked_at < REVOKED_WITHIN_S


def test_deleting_a_device_ends_its_connections(
    station: StationProcess, client: StationClient
) -> None:
    device = client.register_device()
    with MqttClient(station.mqtt_port, device.id, device.api_key) as mqtt:
        expect(client.http.delete(f"/api/v1/devices/{device.id}"), 204)
        mqtt.wait_until_closed(timeout_s=REVOKED_WITHIN_S)


def test_a_key_says_when_it_was_last_used(owner: StationClient) -> None:
    device = owner.register_device()
    owner.send(device, READING)
    (key,) = owner.get(keys_path(device))["items"]
    assert set(key) >= {"created_at", "expires_at", "last_used_at", "prefix"}
