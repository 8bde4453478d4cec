"""An organization over its quota for readings, at the MQTT door."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fieldstation.adapters.mqtt_server.packets import ConnectCode, Reason
from fieldstation.adapters.mqtt_server.server import MqttServer
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
from tests.planned_station import PlannedStation, planned_station

pytestmark = pytest.mark.anyio

READING = b'{"sensor_type": "temperature", "value": 21.5}'


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[PlannedStation]:
    async with planned_station(tmp_path / "data") as station:
        yield station


async def errors_kept(station: PlannedStation, device_id: str) -> list[str]:
    kept = await station.items(f"/api/v1/devices/{device_id}/refusals")
    return [each["error"] for each in kept]


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
        assert await errors_kept(station, device_id) == ["quota_exceeded"] * 2
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
    assert await errors_kept(station, device_id) == []
