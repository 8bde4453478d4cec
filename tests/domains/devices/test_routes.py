"""Devices through the door, on a real station."""

from tests.clients import StationClient, expect


def test_a_registered_device_shows_its_key_once(client: StationClient) -> None:
    made = expect(client.http.post("/api/v1/devices", json={"name": "pump"}), 201)
    read = client.get(f"/api/v1/devices/{made['id']}")
    assert made["api_key"].startswith("fsd_")
    assert "api_key" not in read
    assert read["status"] == "unknown"
