"""What a client of the station does: accounts, devices, readings, over real HTTP."""

import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import uuid4

import httpx2

PASSWORD = "ein Fahrrad im Regen 7"
# Stations in tests speak plain HTTP; loading this host's certificates would take 40 ms a client.
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class TestDevice:
    """A registered device with its key."""

    __test__ = False

    id: str
    api_key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    @property
    def readings_path(self) -> str:
        return f"/api/v1/devices/{self.id}/readings"


class StationClient:
    """One signed-in owner of an organization of their own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx2.Client(base_url=url, timeout=20, verify=TRUSTS_NOBODY)
        self.email = f"owner-{uuid4().hex[:12]}@example.org"
        self.token = ""

    def __enter__(self) -> "StationClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()

    def sign_up(self) -> "StationClient":
        """Register and log in."""
        form = {"email": self.email, "password": PASSWORD}
        expect(self.http.post("/api/v1/auth/register", json=form), 201)
        return self.log_in()

    def log_in(self) -> "StationClient":
        form = {"email": self.email, "password": PASSWORD}
        self.token = expect(self.http.post("/api/v1/auth/login", json=form), 200)["access_token"]
        self.http.headers["Authorization"] = f"Bearer {self.token}"
        return self

    def register_device(self, **fields: Any) -> TestDevice:
        made = expect(self.http.post("/api/v1/devices", json={"name": "greenhouse", **fields}), 201)
        return TestDevice(made["id"], made["api_key"])

    def issue_user_key(self, *scopes: str) -> str:
        form = {"name": "test", "scopes": list(scopes)}
        return expect(self.http.post("/api/v1/auth/api-keys", json=form), 201)["api_key"]

    def send(self, device: TestDevice, body: Any, *, status: int = 201) -> Any:
        """Send readings with the device's own key and return the decoded answer."""
        answer = self.http.post(device.readings_path, json=body, headers=device.headers)
        return expect(answer, status)

    def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        return expect(self.http.get(path, params=query), status)


def expect(answer: httpx2.Response, status: int) -> Any:
    """Return the decoded body of an answer that has the status."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
    return answer.json() if answer.content else None
