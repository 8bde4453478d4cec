"""Two organizations of one station, and everybody who may call from inside, outside, or nowhere."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import httpx2

from fieldstation.web.docs.assets import version
from tests.cli.commands import run_command
from tests.clients import PASSWORD, StationClient, TestDevice, expect
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

MASKED = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\dT[\d:.]+Z|\d+\.\d\dms|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT"
)
COUNTED = {"x-ratelimit-remaining", "x-ratelimit-reset"}
FORWARDED = {"X-Forwarded-For": "203.0.113.9"}
"""No request of the matrix is a local one; whether it is believed is another test's matter."""
ASSET = {"wanted": version(), "name": "pages.css"}
ROLES = ("viewer", "operator", "admin", "owner")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a token, or without one."""

    name: str
    kind: Literal["nobody", "session", "key", "device", "superuser"]
    token: str = ""
    role: str = ""
    scopes: frozenset[str] = frozenset()
    ours: bool = True
    device_id: str = ""

    @property
    def headers(self) -> dict[str, str]:
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {**FORWARDED, **token}


@dataclass(slots=True)
class Tenant:
    """One organization with a device, its key, a sibling device and a spare member."""

    owner: StationClient
    device: TestDevice
    sibling: TestDevice
    spare: str
    ids: dict[str, str]

    @property
    def email(self) -> str:
        return self.owner.email

    def secrets(self) -> set[str]:
        """Return what nobody else may ever be shown."""
        return {*self.ids.values(), self.sibling.id, self.email, self.spare, self.device.api_key}


@dataclass(slots=True)
class World:
    """Our organization, a foreign one, and the callers by name."""

    station: StationProcess
    http: httpx2.Client
    ours: Tenant
    theirs: Tenant
    callers: dict[str, Caller] = field(default_factory=dict)

    def ask(
        self,
        caller: Caller,
        route: str,
        ids: Mapping[str, str],
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Send one request of the matrix."""
        method, path = route.format_map({**ids, **ASSET}).split(" ")
        form = method == "POST" and path.endswith("/auth/token")
        sent: dict[str, Any] = {"data" if form else "json": body} if body is not None else {}
        return self.http.request(
            method, path, headers={**caller.headers, **(headers or {})}, **sent
        )

    def key_with(self, *scopes: str) -> Caller:
        """Return our owner's API key with these scopes alone, made when it is first asked for."""
        name = f"key with {' '.join(scopes)}"
        if name not in self.callers:
            token = self.ours.owner.issue_user_key(*scopes)
            self.callers[name] = Caller(name, "key", token, scopes=frozenset(scopes))
        return self.callers[name]

    def refresh_token(self) -> str:
        form = {"email": self.ours.email, "password": PASSWORD}
        return expect(self.http.post("/api/v1/auth/login", json=form), 200)["refresh_token"]

    def newcomer(self) -> str:
        """Register somebody who belongs to nobody here; return the address."""
        email = f"newcomer-{uuid4().hex[:12]}@example.org"
        form = {"email": email, "password": PASSWORD}
        expect(self.http.post("/api/v1/auth/register", json=form), 201)
        return email

    def fresh(self, spent: str, caller: Caller) -> tuple[Caller, dict[str, str]]:
        """Return the caller and the ids for a request that uses something up."""
        owner, ids = self.ours.owner.http, dict(self.ours.ids)
        if spent in MADE_BY_OWNER:
            ids[spent] = MADE_BY_OWNER[spent](self.ours)
        elif spent == "organization_id" and caller.kind == "session":
            made = expect(owner.post("/api/v1/organizations", json={"name": "spent"}), 201)
            ids["organization_id"] = made["id"]
        elif spent == "session":
            home = self.ours if caller.ours else self.theirs
            return session(home.owner, caller.role), ids
        elif spent == "own_key_id":
            form = {"name": "spent", "scopes": ["org:read"]}
            made = self.http.post("/api/v1/auth/api-keys", json=form, headers=caller.headers)
            ids["own_key_id"] = expect(made, 201)["id"]
        return caller, ids


def hire(owner: StationClient, role: str) -> tuple[str, str]:
    """Make a member of the owner's organization; return id and e-mail address."""
    email = f"{role}-{uuid4().hex[:12]}@example.org"
    form = {"email": email, "role": role, "password": PASSWORD}
    return expect(owner.http.post("/api/v1/users", json=form), 201)["id"], email


def session(owner: StationClient, role: str) -> Caller:
    """Return the session of a new member."""
    _, email = hire(owner, role)
    form = {"email": email, "password": PASSWORD}
    with httpx2.Client(base_url=owner.url, timeout=20) as http:
        token = expect(http.post("/api/v1/auth/login", json=form), 200)["access_token"]
    return Caller(role, "session", token, role=role)


def finished_export(owner: StationClient) -> str:
    """Export what there is in the background and wait for it."""
    path = "/api/v1/data/export?wait=false"
    made = expect(owner.http.post(path, json={"format": "csv"}), 202)
    found = f"/api/v1/data/exports/{made['id']}"
    wait_until_blocking(lambda: owner.get(found)["status"] == "finished")
    return made["id"]


def group_of(owner: StationClient, device: TestDevice) -> str:
    """Make a group that lists a device."""
    form = {"name": uuid4().hex, "device_ids": [device.id]}
    return expect(owner.http.post("/api/v1/device-groups", json=form), 201)["id"]


def key_of(owner: StationClient, device: TestDevice) -> str:
    """Give a device a further key; return its id."""
    return expect(owner.http.post(f"/api/v1/devices/{device.id}/keys", json={}), 201)["id"]


MADE_BY_OWNER: Mapping[str, Callable[[Tenant], str]] = {
    "device_id": lambda ours: ours.owner.register_device().id,
    "export_id": lambda ours: finished_export(ours.owner),
    "group_id": lambda ours: group_of(ours.owner, ours.device),
    "key_id": lambda ours: key_of(ours.owner, ours.device),
    "user_id": lambda ours: hire(ours.owner, "viewer")[0],
}
"""What requests use up, made anew."""


def settle(owner: StationClient) -> Tenant:
    """Fill an organization."""
    device, sibling = owner.register_device(name="ours"), owner.register_device(name="sibling")
    owner.send(device, {"sensor_type": "t", "value": 1})
    spare_id, spare = hire(owner, "viewer")
    (key,) = owner.get(f"/api/v1/devices/{device.id}/keys")["items"]
    form = {"name": "own", "scopes": ["org:read"]}
    own_key = expect(owner.http.post("/api/v1/auth/api-keys", json=form), 201)
    ids = {
        "device_id": device.id,
        "export_id": finished_export(owner),
        "group_id": group_of(owner, device),
        "key_id": key["id"],
        "own_key_id": own_key["id"],
        "user_id": spare_id,
        "organization_id": owner.get("/api/v1/organizations")["items"][0]["id"],
    }
    return Tenant(owner, device, sibling, spare, ids)


def superuser(station: StationProcess, environment: Mapping[str, str]) -> Caller:
    """Return the session of a superuser whom the command line makes."""
    email = f"root-{uuid4().hex[:12]}@example.org"
    done = run_command(
        "user", "create", email, "--superuser", data_dir=station.data_dir, **environment
    )
    assert done.returncode == 0, done.stderr
    password = done.stdout.partition("Password (shown only now): ")[2].splitlines()[0]
    form = {"email": email, "password": password}
    answer = httpx2.post(f"{station.url}/api/v1/auth/login", json=form)
    return Caller("superuser", "superuser", expect(answer, 200)["access_token"])


@contextmanager
def settled_world(station: StationProcess, environment: Mapping[str, str]) -> Iterator[World]:
    """Give a station two organizations and every kind of caller."""
    with (
        StationClient(station.url) as owner,
        StationClient(station.url) as stranger,
        httpx2.Client(base_url=station.url, timeout=20) as http,
    ):
        ours, theirs = settle(owner.sign_up()), settle(stranger.sign_up())
        world = World(station, http, ours, theirs)
        callers = [
            Caller("nobody", "nobody"),
            Caller("somebody with a wrong token", "nobody", "fsu_" + "x" * 43),
            *(session(owner, role) for role in ROLES[:-1]),
            Caller("owner", "session", owner.token, role="owner"),
            Caller("stranger", "session", stranger.token, role="owner", ours=False),
            superuser(station, environment),
            Caller("device", "device", ours.device.api_key, device_id=ours.device.id),
            Caller("sibling", "device", ours.sibling.api_key, device_id=ours.sibling.id),
            Caller(
                "foreign device",
                "device",
                theirs.device.api_key,
                device_id=theirs.device.id,
                ours=False,
            ),
        ]
        world.callers = {caller.name: caller for caller in callers}
        yield world


def masked(answer: httpx2.Response) -> str:
    """Return status, headers and body without ids, times and the instance."""
    headers = "\n".join(
        f"{name}: {text}" for name, text in sorted(answer.headers.items()) if name not in COUNTED
    )
    return MASKED.sub("*", f"{answer.status_code}\n{headers}\n{answer.text}")
