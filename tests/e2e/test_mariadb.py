"""A whole station on MariaDB: what a team does with it, a restart and a kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import PASSWORD, StationClient
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.services import fresh_mariadb_database
from tests.station_process import StationProcess

DAY = {"start": "2026-05-01T00:00:00Z", "end": "2026-05-02T00:00:00Z"}


@pytest.fixture
def mariadb_url() -> Iterator[str]:
    with fresh_mariadb_database() as url:
        yield url


def noon(second: int) -> str:
    return f"2026-05-01T12:00:{second:02}Z"


def values(client: StationClient, device_id: str) -> list[object]:
    found = client.get(f"/api/v1/devices/{device_id}/readings", order="asc", **DAY)["items"]
    return [reading["value"] for reading in found]


def test_a_station_on_mariadb_does_what_it_does_on_the_others(
    tmp_path: Path, mariadb_url: str
) -> None:
    station = StationProcess(tmp_path / "data", database_url=mariadb_url).start()
    try:
        with StationClient(station.url) as ada, StationClient(station.url) as eve:
            device = ada.sign_up().register_device(tags=["roof"], location={"label": "Dach ☀"})
            with live(station.url, token=ada.token) as socket:
                socket.ping()
                reading = {"sensor_type": "temperature", "value": 20.5, "timestamp": noon(0)}
                assert ada.send(device, [reading])["accepted"] == 1
                assert ada.send(device, [reading])["duplicates"] == 1
                (fault,) = ada.send(device, [{**reading, "value": 1}, {**reading, "value": 20.5}])[
                    "rejected"
                ]
                assert fault["error"] == "timestamp_conflict"
                with MqttClient(station.mqtt_port, device.id, device.api_key) as client:
                    for second in range(1, 4):
                        payload = {**reading, "value": second, "timestamp": noon(second)}
                        client.publish(f"devices/{device.id}/readings", payload)
                    client.publish("roof/state", "open", retain=True)
                shown = [reading["value"] for reading in socket.readings(4)]
                assert shown == [20.5, 1, 2, 3]
            assert values(ada, device.id) == shown

            form = {"email": ada.email.upper(), "password": PASSWORD}
            taken = eve.http.post("/api/v1/auth/register", json=form)
            assert (taken.status_code, taken.json()["error"]) == (409, "email_taken")
            eve.sign_up()
            eve.get(f"/api/v1/devices/{device.id}", status=404)
            (organization,) = ada.get("/api/v1/organizations")["items"]
            members = f"/api/v1/organizations/{organization['id']}/members"
            body = {"user_id": eve.get("/api/v1/auth/me")["id"], "role": "viewer"}
            assert ada.http.post(members, json=body).status_code == 201
            again = ada.http.post(members, json=body)
            assert (again.status_code, again.json()["error"]) == (409, "already_member")

            assert station.stop() == 0
            station.start()
            ada.http.base_url = station.url
            assert values(ada, device.id) == shown
            with MqttClient(station.mqtt_port, device.id, device.api_key) as client:
                client.subscribe("roof/#")
                client.publish("roof/other", "1")
                assert "open" in client.texts
                late = {**reading, "value": 4, "timestamp": noon(4)}
                client.publish(f"devices/{device.id}/readings", late)
                station.kill()
            station.start()
            assert values(ada, device.id) == [*shown, 4]
            assert ada.send(device, [late])["duplicates"] == 1
            assert ada.http.delete(f"/api/v1/devices/{device.id}?purge=true").status_code == 204
            ada.get(f"/api/v1/devices/{device.id}", status=404)
    finally:
        station.stop()
