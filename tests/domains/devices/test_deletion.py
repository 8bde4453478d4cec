"""Deleting a device: its readings stay, or go soon after when that was asked for."""

from typing import Any

from tests.clients import StationClient, expect
from tests.domains.conftest import Rows
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking


def across(client: StationClient, **query: Any) -> list[Any]:
    return client.get("/api/v1/readings", **query)["items"]


def test_without_purge_the_readings_stay(client: StationClient) -> None:
    device = client.register_device()
    client.send(device, {"sensor_type": "t", "value": 7})
    expect(client.http.delete(f"/api/v1/devices/{device.id}"), 204)
    client.get(device.readings_path, status=404)
    assert [reading["value"] for reading in across(client, device_id=device.id)] == [7]


def test_with_purge_the_readings_go_and_the_neighbours_stay(
    client: StationClient, rows: Rows
) -> None:
    gone, stays = client.register_device(), client.register_device()
    for device in (gone, stays):
        client.send(device, [{"sensor_type": "t", "value": n} for n in range(20)])
    expect(client.http.delete(f"/api/v1/devices/{gone.id}?purge=true"), 204)
    wait_until_blocking(lambda: across(client, device_id=gone.id) == [])
    latest = client.get("/api/v1/readings/latest")["items"]
    assert {reading["device_id"] for reading in latest} == {stays.id}
    assert len(across(client, device_id=stays.id)) == 20
    wait_until_blocking(lambda: not messages_of(rows, gone.id))


def messages_of(rows: Rows, device_id: str) -> list[Any]:
    found = rows("SELECT payload FROM outbox_message")
    return [row for row in found if device_id in str(row["payload"])]


def test_a_purge_survives_a_kill(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        client.send(device, [{"sensor_type": "t", "value": n} for n in range(100)])
        expect(client.http.delete(f"/api/v1/devices/{device.id}?purge=true"), 204)
        own_station.kill()
        own_station.start()
        # A message that was being handled when the station died waits for its lease to end.
        wait_until_blocking(lambda: across(client) == [], timeout_s=70)
        assert client.get("/api/v1/readings/latest")["items"] == []
