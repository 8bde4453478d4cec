"""An organization over its quota for readings, at the HTTP door."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from tests.planned_station import PlannedStation, planned_station

pytestmark = pytest.mark.anyio

READING = {"sensor_type": "temperature", "value": 21.5}


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[PlannedStation]:
    async with planned_station(tmp_path / "data") as station:
        yield station


async def send(station: PlannedStation, device_id: str, key: str, body: Any = READING) -> Response:
    headers = {"Authorization": f"Bearer {key}"}
    return await station.http.post(
        f"/api/v1/devices/{device_id}/readings", json=body, headers=headers
    )


async def test_readings_over_the_quota_are_429_and_told_what_the_plan_allows(
    station: PlannedStation,
) -> None:
    organization_id, device_id, key = await station.register_device()
    assert (await send(station, device_id, key)).status_code == 201
    await station.use_up(organization_id)
    answer = await send(station, device_id, key, [READING, READING])
    problem = answer.json()
    assert (answer.status_code, problem["error"]) == (429, "quota_exceeded")
    assert answer.headers["retry-after"] == str(problem["retry_after"])
    assert (problem["metric"], problem["limit"], problem["used"]) == ("readings", 100, 100)
    assert len(await station.items(f"/api/v1/devices/{device_id}/readings")) == 1
    await station.use_up()
    assert (await send(station, device_id, key)).status_code == 201


async def test_the_first_readings_that_a_node_ever_gets_are_within_the_quota_too(
    station: PlannedStation,
) -> None:
    organization_id, device_id, key = await station.register_device()
    station.plan.used_up.add(organization_id)
    assert (await send(station, device_id, key)).status_code == 429


async def test_one_organization_s_quota_concerns_no_other_and_only_readings(
    station: PlannedStation,
) -> None:
    organization_id, device_id, key = await station.register_device()
    _, other_id, other_key = await station.register_device()
    await send(station, device_id, key)
    await station.use_up(organization_id)
    assert (await send(station, other_id, other_key)).status_code == 201
    headers = {"Authorization": f"Bearer {key}"}
    alive = await station.http.post(f"/api/v1/devices/{device_id}/heartbeat", headers=headers)
    assert alive.status_code == 200
