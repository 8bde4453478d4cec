"""A whole station in a test's own process, with a plan that ends when the test says so, and a clock
that the test may move."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from httpx2 import ASGITransport, AsyncClient

from fieldstation.adapters.mqtt_server.server import MqttServer
from fieldstation.core.clock import Clock, SystemClock
from fieldstation.core.settings import read_settings
from fieldstation.db.database import Session
from fieldstation.db.engines import station_url, telemetry_url
from fieldstation.domains.identity.errors import quota_exceeded
from fieldstation.main import create_app
from fieldstation.migrations.upgrade import upgrade
from fieldstation.runtime import Runtime
from tests.clients import PASSWORD


class MovedClock(SystemClock):
    """This computer's clock, ahead of it by what a test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def advance(self, seconds: float) -> None:
        self.ahead_s += seconds

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)

    def now_us(self) -> int:
        return super().now_us() + round(self.ahead_s * 1_000_000)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class ReadingsPlan:
    """A plan that limits readings only."""

    def __init__(self) -> None:
        self.used_up: set[str] = set()

    async def check(
        self, session: Session, organization_id: str, metric: str, *, adding: int
    ) -> None:
        assert adding == 1
        assert session.is_active
        if metric == "readings" and organization_id in self.used_up:
            raise quota_exceeded("readings", limit=100, used=100)


class PlannedStation:
    """A station with such a plan, and an owner signed in to it."""

    def __init__(self, runtime: Runtime, plan: ReadingsPlan, http: AsyncClient) -> None:
        assert runtime.mqtt is not None
        self.mqtt: MqttServer = runtime.mqtt
        self.http = http
        self.plan = plan
        self.runtime = runtime

    async def use_up(self, *organization_ids: str) -> None:
        """Have these be over their quota, and nobody else, as the next look finds out."""
        self.plan.used_up = set(organization_ids)
        await self.runtime.quotas.look()

    async def register_device(self) -> tuple[str, str, str]:
        """Sign up and return the organization, the device and its key."""
        email = f"owner-{uuid4().hex}@example.org"
        await self.post("/api/v1/auth/register", {"email": email, "password": PASSWORD})
        await self.log_in(email)
        device = await self.post("/api/v1/devices", {"name": "greenhouse"})
        organizations = (await self.http.get("/api/v1/organizations")).json()["items"]
        return organizations[0]["id"], device["id"], device["api_key"]

    async def log_in(self, email: str) -> None:
        """Act as this user from now on."""
        form = {"email": email, "password": PASSWORD}
        token = (await self.post("/api/v1/auth/login", form))["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    async def post(self, path: str, body: Any) -> Any:
        answer = await self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def items(self, path: str) -> list[dict[str, Any]]:
        return (await self.http.get(path)).json()["items"]


@asynccontextmanager
async def planned_station(
    directory: Path, clock: Clock | None = None
) -> AsyncGenerator[PlannedStation, None]:
    """Run it while the block lasts."""
    environment = {"DATA_DIR": str(directory), "MQTT_LISTEN_PORT": "0"}
    plan = ReadingsPlan()
    runtime = Runtime(read_settings(environment), clock, quota=plan)
    await upgrade(station_url(runtime.settings), "station")
    await upgrade(telemetry_url(runtime.settings), "telemetry")
    async with runtime.running():
        transport = ASGITransport(app=create_app(runtime))
        async with AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield PlannedStation(runtime, plan, http)
