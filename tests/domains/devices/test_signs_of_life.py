"""Heartbeats and every other message keep a device's last-seen moving."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.clients import StationClient, TestDevice, expect
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

BEAT: dict[str, Any] = {
    "uptime_s": 86_400,
    "battery": 87.5,
    "rssi": -61,
    "free_memory": 143_000,
    "firmware_version": "2.0.0",
    "timestamp": 1_790_000_000,
}


def beat(client: StationClient, device: TestDevice, body: Any) -> Any:
    path = f"/api/v1/devices/{device.id}/heartbeat"
    return client.http.post(path, json=body, headers=device.headers)


def read(client: StationClient, device: TestDevice) -> dict[str, Any]:
    return client.get(f"/api/v1/devices/{device.id}")


def test_a_heartbeat_is_kept_and_answered_with_the_station_s_time(owner: StationClient) -> None:
    device = owner.register_device(firmware_version="1.0.0")
    answer = expect(beat(owner, device, BEAT), 200)
    off_s = (datetime.now(UTC) - datetime.fromisoformat(answer["server_time"])).total_seconds()
    assert abs(off_s) < 60
    assert answer["pending_commands"] == 0
    found = read(owner, device)
    assert found["last_heartbeat"] == BEAT
    assert found["last_heartbeat_at"] == answer["server_time"] == found["last_seen_at"]
    assert found["firmware_version"] == "2.0.0"
    assert found["status"] == "online"


def test_a_heartbeat_may_be_empty(owner: StationClient) -> None:
    device = owner.register_device(firmware_version="1.0.0")
    expect(beat(owner, device, {}), 200)
    assert read(owner, device)["last_heartbeat"] == {}
    assert read(owner, device)["firmware_version"] == "1.0.0"


@pytest.mark.parametrize(
    "body",
    [
        {"battery": 101},
        {"battery": "full"},
        {"rssi": 101},
        {"uptime_s": -1},
        {"colour": "red"},
        {"firmware_version": "x" * 51},
    ],
)
def test_a_heartbeat_that_makes_no_sense_is_refused_by_both_doors(
    station: StationProcess, owner: StationClient, body: dict[str, Any]
) -> None:
    device = owner.register_device()
    expect(beat(owner, device, body), 422)
    with MqttClient(station.mqtt_port, device.id, device.api_key) as mqtt:
        mqtt.publish(f"devices/{device.id}/heartbeat", body)
    (refusal,) = owner.get(f"/api/v1/devices/{device.id}/refusals")["items"]
    assert refusal["error"] == "invalid_heartbeat"
    assert read(owner, device)["last_heartbeat"] is None


@pytest.mark.parametrize(
    "body", [b'{"uptime_s": 1e999}', b'{"firmware_version": "\\u0000"}', b'{"timestamp": NaN}']
)
def test_a_heartbeat_that_no_database_holds_is_refused_by_both_doors(
    station: StationProcess, owner: StationClient, body: bytes
) -> None:
    device = owner.register_device()
    answer = owner.http.post(
        f"/api/v1/devices/{device.id}/heartbeat",
        content=body,
        headers={"Content-Type": "application/json", **device.headers},
    )
    assert answer.status_code in {400, 422}, answer.text[:300]
    with MqttClient(station.mqtt_port, device.id, device.api_key) as mqtt:
        mqtt.publish(f"devices/{device.id}/heartbeat", body)
        mqtt.publish(f"devices/{device.id}/readings", {"sensor_type": "after", "value": 1})
    assert len(owner.get(f"/api/v1/devices/{device.id}/refusals")["items"]) == 1


def test_a_heartbeat_over_mqtt_is_kept_before_it_is_acknowledged(
    station: StationProcess, owner: StationClient
) -> None:
    device = owner.register_device()
    with MqttClient(station.mqtt_port, device.id, device.api_key) as mqtt:
        mqtt.publish(f"devices/{device.id}/heartbeat", BEAT)
        found = read(owner, device)
        assert found["last_heartbeat"] == BEAT
        assert found["firmware_version"] == "2.0.0"
        mqtt.publish(f"devices/{device.id}/heartbeat", b"")
        assert read(owner, device)["last_heartbeat"] == {}


def test_readings_move_last_seen_within_a_few_seconds(
    station: StationProcess, client: StationClient
) -> None:
    by_http, by_mqtt = client.register_device(), client.register_device()
    client.send(by_http, {"sensor_type": "t", "value": 1})
    with MqttClient(station.mqtt_port, by_mqtt.id, by_mqtt.api_key) as mqtt:
        mqtt.publish(f"devices/{by_mqtt.id}/readings", {"sensor_type": "t", "value": 1})
        wait_until_blocking(
            lambda: all(read(client, d)["last_seen_at"] for d in (by_http, by_mqtt)), timeout_s=8
        )
    assert read(client, by_http)["status"] == read(client, by_mqtt)["status"] == "online"


def test_a_device_is_offline_after_three_missed_heartbeats(client: StationClient) -> None:
    device = client.register_device(heartbeat_interval_s=1)
    expect(beat(client, device, {}), 200)
    assert read(client, device)["status"] == "online"
    wait_until_blocking(lambda: read(client, device)["status"] == "offline", timeout_s=6)
    offline = client.http.get("/api/v1/devices?status=offline").json()["items"]
    assert [found["id"] for found in offline] == [device.id]


def test_stopping_saves_who_was_seen_last(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        client.send(device, {"sensor_type": "t", "value": 1})
        assert own_station.stop() == 0
        own_station.start()
        assert read(client, device)["last_seen_at"] is not None
