"""A whole station on MariaDB: what a team does with it, a restart, a kill, and a second node."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import PASSWORD, StationClient, TestDevice
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.services import fresh_mariadb_database
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

DAY = {"start": "2026-05-01T00:00:00Z", "end": "2026-05-02T00:00:00Z"}
SHARED = {"SECRET_KEY": "the nodes of one station sign with one key"}


@pytest.fixture(scope="module")
def mariadb_url() -> Iterator[str]:
    with fresh_mariadb_database() as url:
        yield url


@pytest.fixture(scope="module")
def station(mariadb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    """A station that these tests share, and may stop if they start it again."""
    directory = tmp_path_factory.mktemp("mariadb")
    with running_station(directory, database_url=mariadb_url, environment=SHARED) as station:
        yield station


@pytest.fixture
def client(station: StationProcess) -> Iterator[StationClient]:
    with StationClient(station.url) as client:
        yield client.sign_up()


def reading(second: int, value: float) -> dict[str, Any]:
    timestamp = f"2026-05-01T12:00:{second:02}Z"
    return {"sensor_type": "temperature", "value": value, "timestamp": timestamp}


def values(client: StationClient, device: TestDevice) -> list[float]:
    found = client.get(f"/api/v1/devices/{device.id}/readings", order="asc", **DAY)["items"]
    return [one["value"] for one in found]


def publish(station: StationProcess, device: TestDevice, *readings: dict[str, Any]) -> None:
    with MqttClient(station.mqtt_port, device.id, device.api_key) as mqtt:
        for one in readings:
            mqtt.publish(f"devices/{device.id}/readings", one)


def test_readings_come_in_are_shown_live_and_stay(
    station: StationProcess, client: StationClient
) -> None:
    device = client.register_device(tags=["roof"], location={"label": "Dach ☀"})
    with live(station.url, token=client.token) as socket:
        socket.ping()
        assert client.send(device, [reading(0, 20.5)])["accepted"] == 1
        publish(station, device, *(reading(second, second) for second in range(1, 4)))
        assert [one["value"] for one in socket.readings(4)] == [20.5, 1, 2, 3]
    answer = client.send(device, [reading(0, 20.5), reading(0, 1), reading(4, 4)])
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    assert [fault["error"] for fault in answer["rejected"]] == ["timestamp_conflict"]

    stored = [20.5, 1, 2, 3, 4]
    assert values(client, device) == stored
    assert station.stop() == 0
    station.start()
    assert values(client, device) == stored
    publish(station, device, reading(5, 5))
    station.kill()
    station.start()
    assert values(client, device) == [*stored, 5]
    assert client.send(device, [reading(5, 5)])["duplicates"] == 1
    assert client.http.delete(f"/api/v1/devices/{device.id}?purge=true").status_code == 204
    client.get(f"/api/v1/devices/{device.id}", status=404)


def test_what_is_taken_is_told_in_the_same_words(
    station: StationProcess, client: StationClient
) -> None:
    with StationClient(station.url) as eve:
        form = {"email": client.email.upper(), "password": PASSWORD}
        taken = eve.http.post("/api/v1/auth/register", json=form)
        assert (taken.status_code, taken.json()["error"]) == (409, "email_taken")
        eve.sign_up()
        (organization,) = client.get("/api/v1/organizations")["items"]
        members = f"/api/v1/organizations/{organization['id']}/members"
        body = {"user_id": eve.get("/api/v1/auth/me")["id"], "role": "viewer"}
        assert client.http.post(members, json=body).status_code == 201
        again = client.http.post(members, json=body)
        assert (again.status_code, again.json()["error"]) == (409, "already_member")


def test_sessions_and_retained_messages_survive_a_restart(
    station: StationProcess, client: StationClient
) -> None:
    key = client.issue_user_key("telemetry:read", "telemetry:write")

    @contextmanager
    def dashboard() -> Iterator[MqttClient]:
        with MqttClient(
            station.mqtt_port, client.email, key, client_id="dashboard ☀", keeps_session=True
        ) as mqtt:
            yield mqtt

    with dashboard() as mqtt:
        mqtt.subscribe("state/#")
        mqtt.publish("state/roof", "open", retain=True)
    assert station.stop() == 0
    station.start()
    with dashboard() as mqtt:
        assert mqtt.session_present
        mqtt.subscribe("state/roof")
        wait_until_blocking(lambda: "open" in mqtt.texts)


def test_a_second_node_shows_what_the_first_one_takes(
    client: StationClient, mariadb_url: str, tmp_path: Path
) -> None:
    device = client.register_device()
    environment = {**SHARED, "NODE_ID": "node-b"}
    with (
        running_station(tmp_path, database_url=mariadb_url, environment=environment) as other,
        StationClient(other.url) as there,
    ):
        there.email = client.email
        there.log_in()
        with live(other.url, token=there.token) as socket:
            socket.ping()
            client.send(device, [reading(0, 1)])
            publish(other, device, reading(1, 2))
            assert sorted(one["value"] for one in socket.readings(2)) == [1, 2]
        assert there.send(device, [reading(0, 1)])["duplicates"] == 1
        assert values(client, device) == values(there, device) == [1, 2]
