"""Requests of every operation with what has to be there before: accounts, objects, credentials."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import cbor2
import httpx2
import msgspec

from tests.clients import PASSWORD, StationClient, expect
from tests.security.matrix.world import finished_export, group_of

ENCODE: dict[str, Callable[[Any], bytes]] = {
    "application/json": msgspec.json.encode,
    "application/cbor": cbor2.dumps,
    "application/msgpack": msgspec.msgpack.encode,
}
Example = tuple[str, str, str, str, Any]
"""Method, path, media type, name and body."""
Sent = tuple[str, Any, dict[str, str]]
"""Path, body and headers of a request."""


def examples(document: dict[str, Any]) -> Iterator[Example]:
    """Yield every example of a request."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
                for name, example in media["examples"].items():
                    yield method, path, media_type, name, example["value"]


def with_fresh_names(body: Any) -> Any:
    """Give whatever must be unique a name that nobody has."""
    if not isinstance(body, dict):
        return body
    fresh = dict(body)
    for name in fresh.keys() & {"email", "username", "slug"}:
        unique = uuid4().hex[:12]
        fresh[name] = f"{unique}@example.org" if "@" in str(fresh[name]) else f"x{unique}"
    return fresh


def register(client: StationClient, body: dict[str, Any]) -> None:
    """Make the account that an example logs in with."""
    login = body.get("email") or body["username"]
    named = {"email": login} if "@" in login else {"username": login}
    form = {"email": f"{uuid4().hex}@example.org", **named, "password": body["password"]}
    expect(client.http.post("/api/v1/auth/register", json=form), 201)


def as_it_is(_client: StationClient, body: Any) -> Sent:
    return "", body, {}


def logging_in(client: StationClient, body: Any) -> Sent:
    register(client, body)
    return "", body, {}


def refreshing(client: StationClient, body: Any) -> Sent:
    tokens = httpx2.post(
        f"{client.url}/api/v1/auth/login", json={"email": client.email, "password": PASSWORD}
    ).json()
    if body.get("refresh_token"):
        return "", {"refresh_token": tokens["refresh_token"]}, {}
    cookie = f"session_refresh={tokens['refresh_token']}"
    return "", body, {"Cookie": cookie, "Origin": client.url}


def changing_password(client: StationClient, body: Any) -> Sent:
    form = {"email": f"{uuid4().hex}@example.org", "password": body["current_password"]}
    expect(client.http.post("/api/v1/auth/register", json=form), 201)
    token = expect(client.http.post("/api/v1/auth/login", json=form), 200)["access_token"]
    return "", body, {"Authorization": f"Bearer {token}"}


def for_a_user(client: StationClient, body: Any) -> Sent:
    form = {"email": f"{uuid4().hex}@example.org", "role": "viewer"}
    made = expect(client.http.post("/api/v1/users", json=form), 201)
    return made["id"], body, {}


def for_a_device(client: StationClient, body: Any) -> Sent:
    device = client.register_device()
    return device.id, body, device.headers


def by_a_user_for_a_device(client: StationClient, body: Any) -> Sent:
    return client.register_device().id, body, {}


def with_a_device(client: StationClient, body: Any) -> Sent:
    """Let a group list a device that there is, under a name that nobody has."""
    listed = {"device_ids": [client.register_device().id]} if body.get("device_ids") else {}
    named = {"name": uuid4().hex} if "name" in body else {}
    return "", {**body, **named, **listed}, {}


def for_a_group(client: StationClient, body: Any) -> Sent:
    return group_of(client, client.register_device()), *with_a_device(client, body)[1:]


def for_an_organization(client: StationClient, body: Any) -> Sent:
    made = expect(client.http.post("/api/v1/organizations", json={"name": "Harbour"}), 201)
    return made["id"], body, {}


def joining(client: StationClient, body: Any) -> Sent:
    form = {"email": body.get("email", f"{uuid4().hex}@example.org"), "password": PASSWORD}
    user = expect(client.http.post("/api/v1/auth/register", json=form), 201)
    named = {"user_id": user["id"]} if "user_id" in body else {}
    organization_id, _, headers = for_an_organization(client, body)
    return organization_id, {**body, **named}, headers


def in_another_role(client: StationClient, body: Any) -> Sent:
    user_id, _, headers = for_a_user(client, body)
    me = client.get("/api/v1/users/me")
    return f"{me['organizations'][0]['organization_id']}/{user_id}", body, headers


def exporting(client: StationClient, body: Any) -> Sent:
    client.send(client.register_device(), {"sensor_type": "t", "value": 1})
    return "", body, {}


PREPARE: dict[str, Callable[[StationClient, Any], Sent]] = {
    "POST /api/v1/auth/login": logging_in,
    "POST /api/v1/auth/token": logging_in,
    "POST /api/v1/auth/refresh": refreshing,
    "POST /api/v1/auth/password/change": changing_password,
    "PUT /api/v1/users/{user_id}": for_a_user,
    "PATCH /api/v1/users/{user_id}": for_a_user,
    "PUT /api/v1/devices/{device_id}": by_a_user_for_a_device,
    "PATCH /api/v1/devices/{device_id}": by_a_user_for_a_device,
    "POST /api/v1/device-groups": with_a_device,
    "PUT /api/v1/device-groups/{group_id}": for_a_group,
    "PATCH /api/v1/device-groups/{group_id}": for_a_group,
    "POST /api/v1/data/export": exporting,
    "POST /api/v1/devices/{device_id}/keys": by_a_user_for_a_device,
    "POST /api/v1/devices/{device_id}/heartbeat": for_a_device,
    "POST /api/v1/devices/{device_id}/readings": for_a_device,
    "PUT /api/v1/organizations/{organization_id}": for_an_organization,
    "POST /api/v1/organizations/{organization_id}/members": joining,
    "PUT /api/v1/organizations/{organization_id}/members/{user_id}": in_another_role,
}
"""What has to be there before a request; ids for its path, in their order."""


def prepared(client: StationClient, example: Example) -> httpx2.Request:
    """Return the request of an example, its objects made and its names new."""
    method, path, media_type, _, value = example
    prepare = PREPARE.get(f"{method.upper()} {path}", as_it_is)
    ids, body, headers = prepare(client, with_fresh_names(value))
    address = with_ids(path, ids.split("/") if ids else [])
    if media_type == "application/x-www-form-urlencoded":
        return client.http.build_request(method, address, data=body, headers=headers)
    headers = {**headers, "Content-Type": media_type}
    content = ENCODE[media_type](body)
    return client.http.build_request(method, address, content=content, headers=headers)


def bodiless(client: StationClient, method: str, path: str) -> httpx2.Request:
    """Return the request of an operation that takes no body, its objects made."""
    ids = devices_and_groups(client, path)
    if "{organization_id}" in path:
        ids.append(client.get("/api/v1/users/me")["organizations"][0]["organization_id"])
    if path.endswith("/keys/{key_id}"):
        ids.append(expect(client.http.post(f"/api/v1/devices/{ids[0]}/keys", json={}), 201)["id"])
    elif "{key_id}" in path:
        form = {"name": "one", "scopes": ["devices:read"]}
        ids.append(expect(client.http.post("/api/v1/auth/api-keys", json=form), 201)["id"])
    if "{export_id}" in path:
        ids.append(finished_export(client))
    if path == "/api/v1/organizations/{organization_id}" and method == "delete":
        ids = [for_an_organization(client, None)[0]]
    if "{user_id}" in path:
        ids.append(for_a_user(client, None)[0])
    return client.http.build_request(method, with_ids(path, ids))


def devices_and_groups(client: StationClient, path: str) -> list[str]:
    if "{group_id}" not in path:
        return [client.register_device().id] if "{device_id}" in path else []
    member = client.register_device()
    group = group_of(client, member)
    return [group, member.id] if "{device_id}" in path else [group]


def with_ids(path: str, ids: Sequence[str]) -> str:
    """Put ids in the places of a path's parameters."""
    for found in ids:
        path = f"{path.partition('{')[0]}{found}{path.partition('}')[2]}"
    return path
