"""Who may what: one line for every route, socket and topic of the station (api.md, 0 to 4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from tests.clients import PASSWORD
from tests.security.matrix.world import World

Who = Literal[
    "anybody",  # also without a token
    "caller",  # whoever has a valid token
    "person",  # a user, by session or key
    "session",  # a user, by their own session only
    "viewer",  # a role: this one and those above it
    "operator",
    "admin",
    "owner",
    "device",  # the device itself
    "superuser",
]
Spent = Literal[
    "",
    "device_id",
    "export_id",
    "group_id",
    "key_id",
    "own_key_id",
    "user_id",
    "organization_id",
    "session",
]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route expects; ``spends`` names what a request uses up.

    ``scope`` is what a refusal names; ``documented`` stands beside it in the OpenAPI document.
    """

    who: Who
    scope: str = ""
    devices: bool = False
    body: Callable[[World], Any] | None = None
    spends: Spent = ""
    documented: str = ""


def fixed(**members: Any) -> Callable[[World], Any]:
    return lambda _world: members


def address() -> str:
    return f"new-{uuid4().hex[:12]}@example.org"


def refreshing(world: World) -> Any:
    return {"refresh_token": world.refresh_token()}


def joining(world: World) -> Any:
    return {"email": world.newcomer(), "role": "viewer"}


def replacing(world: World) -> Any:
    return {"email": world.ours.spare, "role": "viewer"}


def grouping(_world: World) -> Any:
    return {"name": uuid4().hex, "device_ids": []}


READING = fixed(sensor_type="t", value=1)
NAME = fixed(name="renamed")
KEY = fixed(name="k", scopes=["org:read"])
LOGIN = {"password": PASSWORD}
CHANGED = {"current_password": PASSWORD, "new_password": "seven-quiet-anvils-drift"}
API = "/api/v1"
DEVICE, KEYS = "/api/v1/devices/{device_id}", "/api/v1/auth/api-keys"
USER, ORGANIZATION = "/api/v1/users/{user_id}", "/api/v1/organizations/{organization_id}"
EXPORTS = "/api/v1/data/exports"
GROUPS, GROUP = "/api/v1/device-groups", "/api/v1/device-groups/{group_id}"
IN_GROUP = GROUP + "/members/{device_id}"
MEMBER = ORGANIZATION + "/members/{user_id}"
READ_DEVICES, READ_TELEMETRY = "devices:read", "telemetry:read"

# fmt: off
ROUTES: Mapping[str, Rule] = {
    "GET /": Rule("anybody"),
    "GET /health/live": Rule("anybody"),
    "GET /health/ready": Rule("anybody"),
    f"GET {API}/health": Rule("anybody"),
    "GET /metrics": Rule("superuser", "system:admin"),
    "GET /api/status": Rule("superuser", "system:admin"),
    f"GET {API}/system/metrics": Rule("viewer", "org:read"),
    f"GET {API}/system/version": Rule("viewer", "org:read"),

    "GET /docs": Rule("anybody"),
    "GET /swagger": Rule("anybody"),
    "GET /redoc": Rule("anybody"),
    "GET /docs/websocket": Rule("anybody"),
    "GET /openapi.json": Rule("anybody"),
    "GET /asyncapi.json": Rule("anybody"),
    "GET /docs/assets/{wanted}/{name}": Rule("anybody"),

    f"POST {API}/auth/register": Rule("anybody", body=lambda _: {**LOGIN, "email": address()}),
    f"POST {API}/auth/login": Rule("anybody", body=lambda w: {**LOGIN, "email": w.ours.email}),
    f"POST {API}/auth/token": Rule("anybody", body=lambda w: {**LOGIN, "username": w.ours.email}),
    f"POST {API}/auth/refresh": Rule("anybody", body=refreshing),
    f"POST {API}/auth/logout": Rule("session", spends="session"),
    f"GET {API}/auth/me": Rule("person"),
    f"POST {API}/auth/password/change": Rule("session", body=fixed(**CHANGED), spends="session"),
    f"POST {API}/auth/ws-ticket": Rule("caller"),
    f"GET {KEYS}": Rule("viewer", "org:read"),
    f"POST {KEYS}": Rule("session", body=KEY, documented="org:read"),
    f"DELETE {KEYS}/{{own_key_id}}": Rule("session", spends="own_key_id", documented="org:read"),

    f"GET {API}/users": Rule("viewer", "org:read"),
    f"POST {API}/users": Rule("admin", "org:admin", body=lambda _: {**LOGIN, "email": address()}),
    f"GET {API}/users/me": Rule("person"),
    f"PATCH {API}/users/me": Rule("session", body=fixed(full_name="Ada")),
    f"GET {USER}": Rule("viewer", "org:read"),
    f"PUT {USER}": Rule("admin", "org:admin", body=replacing),
    f"PATCH {USER}": Rule("admin", "org:admin", body=fixed(full_name="Grace")),
    f"DELETE {USER}": Rule("admin", "org:admin", spends="user_id"),

    f"GET {API}/organizations": Rule("person"),
    f"POST {API}/organizations": Rule("session", body=NAME),
    f"GET {ORGANIZATION}": Rule("viewer", "org:read"),
    f"PUT {ORGANIZATION}": Rule("admin", "org:admin", body=NAME),
    f"DELETE {ORGANIZATION}": Rule("owner", "org:delete", spends="organization_id"),
    f"GET {ORGANIZATION}/members": Rule("viewer", "org:read"),
    f"POST {ORGANIZATION}/members": Rule("admin", "org:admin", body=joining),
    f"PUT {MEMBER}": Rule("admin", "org:admin", body=fixed(role="viewer")),
    f"DELETE {MEMBER}": Rule("admin", "org:admin", spends="user_id", documented="org:read"),

    f"GET {API}/devices": Rule("viewer", READ_DEVICES, devices=True),
    f"POST {API}/devices": Rule("operator", "devices:write", body=NAME),
    f"GET {DEVICE}": Rule("viewer", READ_DEVICES, devices=True),
    f"PUT {DEVICE}": Rule("operator", "devices:write", body=NAME),
    f"PATCH {DEVICE}": Rule("operator", "devices:write", body=NAME),
    f"DELETE {DEVICE}": Rule("operator", "devices:write", spends="device_id"),
    f"GET {DEVICE}/keys": Rule("viewer", READ_DEVICES),
    f"POST {DEVICE}/keys": Rule("operator", "devices:write", body=fixed(), spends="device_id"),
    f"DELETE {DEVICE}/keys/{{key_id}}": Rule("operator", "devices:write", spends="key_id"),
    f"POST {DEVICE}/heartbeat": Rule("device", "device", body=fixed()),
    f"GET {GROUPS}": Rule("viewer", READ_DEVICES),
    f"POST {GROUPS}": Rule("operator", "devices:write", body=grouping),
    f"GET {GROUP}": Rule("viewer", READ_DEVICES),
    f"PUT {GROUP}": Rule("operator", "devices:write", body=grouping, spends="group_id"),
    f"PATCH {GROUP}": Rule("operator", "devices:write", body=NAME),
    f"DELETE {GROUP}": Rule("operator", "devices:write", spends="group_id"),
    f"GET {GROUP}/devices": Rule("viewer", READ_DEVICES),
    f"PUT {IN_GROUP}": Rule("operator", "devices:write"),
    f"DELETE {IN_GROUP}": Rule("operator", "devices:write", spends="group_id"),

    f"POST {DEVICE}/readings": Rule("operator", "telemetry:write", devices=True, body=READING),
    f"GET {DEVICE}/readings": Rule("viewer", READ_TELEMETRY, devices=True),
    f"GET {DEVICE}/readings/latest": Rule("viewer", READ_TELEMETRY, devices=True),
    f"GET {DEVICE}/readings/stats": Rule("viewer", READ_TELEMETRY, devices=True),
    f"GET {DEVICE}/refusals": Rule("viewer", READ_TELEMETRY, devices=True),
    f"GET {API}/readings": Rule("viewer", READ_TELEMETRY, devices=True),
    f"GET {API}/readings/latest": Rule("viewer", READ_TELEMETRY, devices=True),
    f"GET {API}/readings/stats": Rule("viewer", READ_TELEMETRY, devices=True),

    f"GET {API}/data/retention": Rule("viewer", READ_TELEMETRY),
    f"PUT {API}/data/retention": Rule("admin", "org:admin", body=fixed(rules=[])),

    f"POST {API}/data/export": Rule("operator", "data:export", body=fixed(format="csv")),
    f"GET {EXPORTS}": Rule("operator", "data:export"),
    f"GET {EXPORTS}/{{export_id}}": Rule("operator", "data:export"),
    f"GET {EXPORTS}/{{export_id}}/download": Rule("operator", "data:export"),
    f"DELETE {EXPORTS}/{{export_id}}": Rule("operator", "data:export", spends="export_id"),
}
# fmt: on

SOCKETS: Mapping[str, str] = {
    "/ws": READ_TELEMETRY,
    "/ws/live-data": READ_TELEMETRY,
    "/mqtt": "",  # a CONNECT says who it is, as on the MQTT port
}

Use = Literal["own device", "any device", "the broker"]
TOPICS: Mapping[str, Use] = {
    "devices/{device_id}/readings": "own device",
    "devices/{device_id}/heartbeat": "own device",
    "sensors/{sensor_type}/{sensor_id}": "any device",
    "nodered/status": "any device",
    "system/{name}": "any device",
    "$SYS/broker/{name}": "the broker",
}
