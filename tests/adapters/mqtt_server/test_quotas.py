"""An organization over its quota: a whole station in this process, with a plan that says no."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from httpx2 import ASGITransport, AsyncClient

from fieldstation.adapters.mqtt_server.packets import ConnectCode, Reason
from fieldstation.adapters.mqtt_server.server import MqttServer
from fieldstation.core.settings import read_settings
from fieldstation.db.database import Session
from fieldstation.db.engines import station_url, telemetry_url
from fieldstation.domains.identity.errors import quota_exceeded
from fieldstation.main import create_app
from fieldstation.migrations.upgrade import upgrade
from fieldstation.runtime import Runtime
from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    RawClient,
    Received,
    connect_bytes,
    publish_bytes,
    raw_client,
)
from tests.adapters.mqtt_server.raw_client5 import code_of, connect5, publish5, read_connack
from tests.clients import PASSWORD

pytestmark = pytest.mark.anyio

READING = b'{"sensor_type": "temperature", "value": 21.5}'


class ReadingsPlan:
    """A plan that ends when the test says so; it limits readings only."""

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
        self._runtime = runtime
        self._plan = plan

    async def use_up(self, *organization_ids: str) -> None:
        """Have these be over their quota, and nobody else, as the next look finds out."""
        self._plan.used_up = set(organization_ids)
        await self._runtime.mqtt_door.quotas.look()

    async def register_device(self) -> tuple[str, str, str]:
        """Sign up and return the organization, the device and its key."""
        form = {"email": f"owner-{uuid4().hex}@example.org", "password": PASSWORD}
        await self.post("/api/v1/auth/register", form)
        token = (await self.post("/api/v1/auth/login", form))["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        device = await self.post("/api/v1/devices", {"name": "greenhouse"})
        organizations = (await self.http.get("/api/v1/organizations")).json()["items"]
        return organizations[0]["id"], device["id"], device["api_key"]

    async def post(self, path: str, body: Any) -> Any:
        answer = await self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def errors_kept(self, device_id: str) -> list[str]:
        answer = await self.http.get(f"/api/v1/devices/{device_id}/refusals")
        return [each["error"] for each in answer.json()["items"]]


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[PlannedStation]:
    environment = {"DATA_DIR": str(tmp_path / "data"), "MQTT_LISTEN_PORT": "0"}
    plan = ReadingsPlan()
    runtime = Runtime(read_settings(environment), quota=plan)
    await upgrade(station_url(runtime.settings), "station")
    await upgrade(telemetry_url(runtime.settings), "telemetry")
    async with runtime.running():
        transport = ASGITransport(app=create_app(runtime))
        async with AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield PlannedStation(runtime, plan, http)


@asynccontextmanager
async def connected_5(server: MqttServer, key: str) -> AsyncIterator[RawClient]:
    async with raw_client(server) as client:
        client.send(connect5(username="device", password=key))
        assert (await read_connack(client)).code == 0
        yield client


async def test_mqtt_5_is_told_of_each_message_and_the_station_keeps_it(
    station: PlannedStation,
) -> None:
    organization_id, device_id, key = await station.register_device()
    own = f"devices/{device_id}"
    async with connected_5(station.mqtt, key) as client:
        client.send(publish5(f"{own}/readings", READING, packet_id=1))
        assert code_of(await client.read(), PUBACK) == (1, 0)
        await station.use_up(organization_id)
        client.send(
            publish5(f"{own}/readings", READING, packet_id=2),
            publish5("sensors/temperature/t1", b"20", packet_id=3),
            publish5(f"{own}/heartbeat", b"{}", packet_id=4),
            publish5(f"{own}/anything", b"x", packet_id=5),
        )
        assert [code_of(await client.read(), PUBACK) for _ in range(4)] == [
            (2, Reason.QUOTA_EXCEEDED),
            (3, Reason.QUOTA_EXCEEDED),
            (4, 0),
            (5, 0),
        ]
        assert await station.errors_kept(device_id) == ["quota_exceeded"] * 2
        await station.use_up()
        client.send(publish5(f"{own}/readings", READING, packet_id=6))
        assert code_of(await client.read(), PUBACK) == (6, 0)


async def test_mqtt_3_is_closed_and_let_in_again_when_the_quota_resets(
    station: PlannedStation,
) -> None:
    organization_id, device_id, key = await station.register_device()
    topic = f"devices/{device_id}/readings"
    connect = connect_bytes(username="device", password=key)
    async with raw_client(station.mqtt) as client:
        client.send(connect)
        assert await client.read() == Received(CONNACK, b"\0\0")
        await station.use_up(organization_id)
        client.send(publish_bytes(topic, READING, packet_id=1))
        assert await client.read_to_end() == b""
    async with raw_client(station.mqtt) as client:
        client.send(connect)
        assert await client.read_to_end() == bytes((CONNACK, 2, 0, ConnectCode.UNAVAILABLE))
    await station.use_up()
    async with raw_client(station.mqtt) as client:
        client.send(connect, publish_bytes(topic, READING, packet_id=1))
        assert await client.read() == Received(CONNACK, b"\0\0")
        assert await client.read_pubacks(1) == [1]


async def test_one_organization_s_quota_concerns_no_other(station: PlannedStation) -> None:
    one, _, _ = await station.register_device()
    _, device_id, key = await station.register_device()
    await station.use_up(one)
    async with raw_client(station.mqtt) as client:
        client.send(connect_bytes(username="device", password=key))
        client.send(publish_bytes(f"devices/{device_id}/readings", READING, packet_id=1))
        assert await client.read() == Received(CONNACK, b"\0\0")
        assert await client.read_pubacks(1) == [1]
        client.send(DISCONNECT)
        assert await client.read_to_end() == b""
    assert await station.errors_kept(device_id) == []
