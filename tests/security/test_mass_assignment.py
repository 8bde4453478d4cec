"""What only the station decides cannot be sent along: every body of the API refuses it."""

from typing import Any

import pytest

from tests.clients import StationClient, TestDevice, expect

DECIDED_HERE: dict[str, Any] = {
    "id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a99",
    "organization_id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a98",
    "managing_organization_id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a98",
    "user_id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a97",
    "owner_id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a97",
    "device_id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a96",
    "role": "owner",
    "roles": ["owner"],
    "scopes": ["system:admin"],
    "is_superuser": True,
    "superuser": True,
    "is_active": True,
    "managed": True,
    "kind": "user",
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
    "member_count": 7,
    "revoked_at": None,
    "last_used_at": "2020-01-01T00:00:00Z",
    "password_hash": "$argon2id$x",
    "secret_hash": "x",
    "api_key": "fsu_x",
}
READINGS = "/api/v1/devices/{device_id}/readings"
BODIES_MIN = 15


def bodies(document: dict[str, Any]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return method, path, media type and schema of every body but readings."""
    return [
        (method.upper(), path, media, schema_of(document, content["schema"]))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
        if path != READINGS
    ]


def schema_of(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Follow references, past what may be null, to the object that is meant."""
    for choice in part.get("anyOf", ()):
        if choice.get("type") != "null":
            return schema_of(document, choice)
    if "$ref" in part:
        return document["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    return part


def ids_of(client: StationClient, device: TestDevice) -> dict[str, str]:
    me = client.get("/api/v1/users/me")
    organization_id = me["organizations"][0]["organization_id"]
    return {
        "device_id": device.id,
        "user_id": me["id"],
        "organization_id": organization_id,
        "key_id": DECIDED_HERE["id"],
        "group_id": DECIDED_HERE["id"],
    }


def test_no_body_takes_what_only_the_station_decides(client: StationClient) -> None:
    document, device = client.get("/openapi.json"), client.register_device()
    ids, before = ids_of(client, device), client.get("/api/v1/users/me")
    taken: list[str] = []
    found = bodies(document)
    for method, path, media, schema in found:
        sent = {
            name: value for name, value in DECIDED_HERE.items() if name not in schema["properties"]
        }
        content: dict[str, Any] = {"data" if "form" in media else "json": sent}
        headers = device.headers if path.endswith("/heartbeat") else {}
        answer = client.http.request(method, path.format(**ids), headers=headers, **content)
        refused = {
            error["loc"][-1]
            for error in (answer.json().get("errors", ()) if answer.status_code == 422 else ())
            if error["type"] == "extra_forbidden"
        }
        taken += [f"{method} {path}: {name}" for name in sent.keys() - refused]
    assert taken == []
    assert len(found) >= BODIES_MIN
    assert client.get("/api/v1/users/me") == before


@pytest.mark.parametrize("name", ["location"])
def test_objects_inside_bodies_are_as_strict(client: StationClient, name: str) -> None:
    form = {"name": "x", name: {"label": "here", "organization_id": DECIDED_HERE["id"]}}
    answer = client.http.post("/api/v1/devices", json=form)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", name, "organization_id"]


@pytest.mark.parametrize("around", [True, False])
def test_whatever_a_device_sends_along_is_metadata_and_nothing_else(
    client: StationClient, stranger: StationClient, around: bool
) -> None:
    device, other = client.register_device(), stranger.register_device()
    said = {**DECIDED_HERE, "device_id": other.id, "anomaly": True, "source_protocol": "mqtt"}
    reading = {"sensor_type": "t", "value": 1, **said}
    body = {"readings": [reading], **said} if around else reading
    client.send(device, body)
    (stored,) = client.get(device.readings_path)["items"]
    assert (stored["device_id"], stored["source_protocol"]) == (device.id, "http")
    assert (stored["anomaly"], stored["id"] == DECIDED_HERE["id"]) == (False, False)
    assert stored["metadata"]["organization_id"] == DECIDED_HERE["organization_id"]
    assert stranger.get("/api/v1/readings")["items"] == []


def test_a_member_raises_nobody_not_even_themselves(client: StationClient) -> None:
    with StationClient(client.url) as admin:
        form = {"email": admin.email, "role": "admin", "password": "ein Fahrrad im Regen 7"}
        made = expect(client.http.post("/api/v1/users", json=form), 201)
        admin.log_in()
        for role in ("owner", "superuser"):
            answer = admin.http.patch(f"/api/v1/users/{made['id']}", json={"role": role})
            assert answer.status_code in {403, 422}, role
        for scope in ("org:delete", "system:admin"):
            key = {"name": "x", "scopes": [scope]}
            expect(admin.http.post("/api/v1/auth/api-keys", json=key), 403)
