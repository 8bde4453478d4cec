"""What the station says of itself, and to whom."""

import json
import platform
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from fieldstation import __version__
from tests.clients import StationClient, expect
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

TOKEN = "metrics-token-0815"
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


@pytest.fixture
def nobody(station: StationProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=station.url) as nobody:
        yield nobody


@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/health/ready"])
def test_a_healthy_station_says_so_part_by_part(nobody: httpx2.Client, path: str) -> None:
    body = expect(nobody.get(path), 200)
    assert body["status"] == "healthy"
    assert body["version"] == __version__
    assert body["environment"] == "development"
    assert body["timestamp"].endswith("Z")
    assert body["services"]["database"]["status"] == "ok"
    assert body["services"]["database"]["type"] in {"sqlite", "postgresql"}
    assert body["services"]["mqtt"] == {"status": "ok", "type": "built-in"}
    assert body["services"]["bus"]["status"] == "ok"
    assert body["services"]["intake"]["status"] == "ok"
    assert body["checks"]["database"] == "ok"
    assert body["checks"]["websocket_clients"] >= 0


def test_liveness_needs_nothing(nobody: httpx2.Client) -> None:
    assert expect(nobody.get("/health/live"), 200) == {"status": "alive"}


def test_the_front_page_says_where_to_go_on(nobody: httpx2.Client) -> None:
    body = expect(nobody.get("/"), 200)
    assert (body["name"], body["version"]) == ("Fieldstation", __version__)
    assert (body["status"], body["environment"]) == ("running", "development")
    for path in (body["health"], body["documentation"]["openapi"]):
        assert nobody.get(path).status_code == 200


def test_the_api_describes_itself(nobody: httpx2.Client) -> None:
    document = expect(nobody.get("/openapi.json"), 200)
    assert document["openapi"].startswith("3.1")
    assert "bearerAuth" in document["components"]["securitySchemes"]
    paths = document["paths"]
    assert "post" in paths["/api/v1/devices/{device_id}/readings"]
    assert "requestBody" in paths["/api/v1/devices/{device_id}/readings"]["post"]
    identifiers = [
        operation["operationId"] for path in paths.values() for operation in path.values()
    ]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("path", ["/metrics", "/api/status"])
def test_numbers_are_for_this_computer_and_not_for_a_proxy_s_clients(
    nobody: httpx2.Client, client: StationClient, path: str
) -> None:
    assert nobody.get(path).status_code == 200
    for name in FORWARDED:
        assert nobody.get(path, headers={name: "192.0.2.1"}).status_code == 401
        assert client.http.get(path, headers={name: "192.0.2.1"}).status_code == 403


def test_the_metrics_token_opens_them_from_elsewhere(tmp_path: Path) -> None:
    environment = {"METRICS_TOKEN": TOKEN}
    with running_station(tmp_path / "data", environment=environment) as station:
        for path in ("/metrics", "/api/status"):
            for token, status in ((TOKEN, 200), (TOKEN + "x", 401), ("x", 401), ("ü", 401)):
                headers = {
                    b"X-Forwarded-For": b"192.0.2.1",
                    b"Authorization": f"Bearer {token}".encode(),
                }
                assert httpx2.get(station.url + path, headers=headers).status_code == status
        assert TOKEN not in station.output()


def test_metrics_count_requests_by_route_and_never_by_path(
    nobody: httpx2.Client, client: StationClient
) -> None:
    device = client.register_device()
    client.get(f"/api/v1/devices/{device.id}")
    nobody.get(f"/nothing/{device.id}")
    answer = nobody.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert device.id not in answer.text
    found = re.findall(
        r'^rover_api_requests_total\{endpoint="([^"]*)",method="(\w+)",status="(\d+)"\} ([\d.]+)',
        answer.text,
        re.MULTILINE,
    )
    counted = {(endpoint, method, status) for endpoint, method, status, _ in found}
    assert ("/api/v1/devices/{device_id}", "GET", "200") in counted
    assert ("/api/v1/devices", "POST", "201") in counted
    assert ("unmatched", "GET", "404") in counted
    assert "rover_api_request_duration_seconds_bucket" in answer.text


def gauge(client: httpx2.Client, name: str) -> float:
    found = re.search(rf"^{name} ([\d.e+-]+)$", client.get("/metrics").text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def test_metrics_follow_what_the_station_does(
    station: StationProcess, nobody: httpx2.Client, client: StationClient
) -> None:
    device = client.register_device()
    accepted = gauge(nobody, "fieldstation_readings_accepted_total")
    refused = gauge(nobody, "fieldstation_messages_refused_total")
    client.send(device, [{"sensor_type": "t", "value": n} for n in range(3)])
    assert gauge(nobody, "fieldstation_readings_accepted_total") == accepted + 3
    sockets = gauge(nobody, "rover_websocket_connections")
    connections = gauge(nobody, "fieldstation_mqtt_connections")
    with (
        live(station.url, token=client.token) as socket,
        MqttClient(station.mqtt_port, device.id, device.api_key) as mqtt,
    ):
        socket.ping()
        assert gauge(nobody, "rover_websocket_connections") == sockets + 1
        assert gauge(nobody, "fieldstation_mqtt_connections") == connections + 1
        mqtt.publish(f"devices/{device.id}/readings", "malformed")
        assert gauge(nobody, "fieldstation_messages_refused_total") == refused + 1
    wait_until_blocking(lambda: gauge(nobody, "rover_websocket_connections") == sockets)
    assert gauge(nobody, "fieldstation_intake_queued") == 0
    assert gauge(nobody, "fieldstation_event_loop_lag_ms") >= 0


def test_the_short_status(nobody: httpx2.Client, client: StationClient) -> None:
    client.send(client.register_device(), {"sensor_type": "t", "value": 1})
    body = expect(nobody.get("/api/status"), 200)
    assert body["api_version"] == __version__
    assert body["mqtt_connected"] is True
    assert body["latest_readings_count"] >= 1
    assert body["uptime"] > 0


def test_metrics_count_what_was_sealed(tmp_path: Path) -> None:
    old = datetime.now(UTC) - timedelta(days=3)
    with running_station(tmp_path / "data") as station:
        with StationClient(station.url) as client:
            device = client.sign_up().register_device()
            instants = [(old + timedelta(seconds=n)).isoformat() for n in range(50)]
            body = [{"sensor_type": "t", "value": 1, "timestamp": instant} for instant in instants]
            assert client.send(device, body)["accepted"] == 50
            assert gauge(client.http, "fieldstation_readings_sealed_total") == 0
        assert station.stop() == 0  # it flushes
        with closing(sqlite3.connect(tmp_path / "data" / "station.db")) as jobs, jobs:
            jobs.execute("UPDATE job SET due_at = 0 WHERE name = 'telemetry.seal'")
        station.start()
        with httpx2.Client(base_url=station.url) as nobody:
            wait_until_blocking(lambda: gauge(nobody, "fieldstation_readings_sealed_total") == 50)


def test_the_system_s_numbers_need_a_member(nobody: httpx2.Client, client: StationClient) -> None:
    for path in ("/api/v1/system/metrics", "/api/v1/system/version"):
        assert nobody.get(path).status_code == 401
        client.get(path)
    body = client.get("/api/v1/system/metrics")
    assert body["memory_usage"] > 10_000_000
    assert body["cpu_usage"] >= 0
    assert body["requests_per_minute"] >= 1
    assert body["storage_bytes"] > 0
    assert body["uptime"] > 0


def test_the_version_names_what_runs(client: StationClient) -> None:
    body = client.get("/api/v1/system/version")
    assert body["version"] == __version__
    assert body["python"] == platform.python_version()
    assert body["sqlite"] == sqlite3.sqlite_version
    assert body["database"] in {"sqlite", "postgresql"}
    assert body["telemetry_database"].lower().startswith(body["database"])
    assert re.search(r" \d+\.\d+", body["telemetry_database"])


def test_without_mqtt_the_station_is_healthy_and_says_it_is_off(tmp_path: Path) -> None:
    with running_station(tmp_path / "data", environment={"ENABLE_MQTT": "false"}) as station:
        body = httpx2.get(f"{station.url}/health").json()
        assert body["status"] == "healthy"
        assert body["services"]["mqtt"]["status"] == "disabled"
        assert httpx2.get(f"{station.url}/api/status").json()["mqtt_connected"] is False
        assert "MQTT port off" in station.output()


def test_production_shows_its_environment_and_invites(tmp_path: Path) -> None:
    environment = {"ENVIRONMENT": "production", "SECRET_KEY": "s3cret-" * 8}
    with running_station(tmp_path / "data", environment=environment) as station:
        assert httpx2.get(f"{station.url}/").json()["environment"] == "production"
        form = {"email": "a@example.org", "password": "ein Fahrrad im Regen 7"}
        answer = httpx2.post(f"{station.url}/api/v1/auth/register", json=form)
        assert answer.status_code == 403
        assert "s3cret-" not in station.output() + json.dumps(answer.json())
