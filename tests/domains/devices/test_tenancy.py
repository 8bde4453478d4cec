"""What the matrix of tests/security does not ask: what lists and queries hold, and for whom."""

from typing import Any

from tests.clients import StationClient, expect

READING = {"sensor_type": "t", "value": 1}


def test_lists_and_queries_hold_nothing_of_a_stranger(
    client: StationClient, stranger: StationClient
) -> None:
    device = client.register_device()
    client.send(device, READING)
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
    owner.send(one, READING)


def test_a_viewer_sees_keys_without_secrets(owner: StationClient) -> None:
    """api.md: GET needs the read scope of its area."""
    device = owner.register_device()
    reader = {"Authorization": f"Bearer {owner.issue_user_key('devices:read')}"}
    answer = owner.http.get(f"/api/v1/devices/{device.id}/keys", headers=reader)
    (key,) = expect(answer, 200)["items"]
    assert device.api_key not in answer.text
    assert device.api_key.startswith(key["prefix"])


def test_a_device_s_lists_hold_itself_alone(client: StationClient) -> None:
    me, other = client.register_device(name="me"), client.register_device(name="other")
    client.send(other, READING)
    listed = client.http.get("/api/v1/devices", headers=me.headers).json()["items"]
    assert [device["id"] for device in listed] == [me.id]
    for path in ("/readings", "/readings/latest", "/readings/stats"):
        for query in ("", f"?device_id={other.id}"):
            across = client.http.get(f"/api/v1{path}{query}", headers=me.headers).json()["items"]
            assert across == []
