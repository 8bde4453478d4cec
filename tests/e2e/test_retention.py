"""Rules set by HTTP on a whole station whose clock moves on: readings go, rollups answer, late
readings are refused, and nobody else notices."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fieldstation.core.clock import us_to_rfc3339
from tests.mqtt_client import MqttClient
from tests.planned_station import MovedClock, PlannedStation, planned_station
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
DAYS = 10
RAW_DAYS = 3
PATH = "/api/v1/data/retention"
ELEVEN_MINUTES_S = 660
SOON_S = 30.0


@dataclass
class Owner:
    """An owner with a device that sent a reading an hour over ten days."""

    station: PlannedStation
    organization_id: str
    email: str
    device_id: str
    key: str
    midnight_us: int

    @property
    def path(self) -> str:
        return f"/api/v1/devices/{self.device_id}/readings"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def send(self, *ts_us: int) -> Any:
        readings = [
            {"sensor_type": "t", "value": at % 17 + 0.5, "timestamp": us_to_rfc3339(instant)}
            for at, instant in enumerate(ts_us)
        ]
        return await self.station.http.post(self.path, json=readings, headers=self.headers)

    async def readings(self) -> list[str]:
        answer = await self.station.http.get(
            self.path, params={"limit": 1_000, "order": "asc"}, headers=self.headers
        )
        assert answer.is_success, answer.text
        return [item["timestamp"] for item in answer.json()["items"]]

    async def is_written(self) -> bool:
        """Tell whether readings are in chunks; until then they are not measured."""
        store = self.station.runtime.store
        series = [row.id for row in await store.find_series(self.organization_id)]
        found = await store.sizes_of(series, raw_before_us=None, rollups_before_us=None)
        return found.readings == 24 * DAYS

    async def trend(self) -> list[dict[str, Any]]:
        """Return the days before today."""
        answer = await self.station.http.get(
            self.path,
            params={
                "interval": "1d",
                "aggregate": "count,avg,min,max,first,last",
                "start": us_to_rfc3339(self.midnight_us - DAYS * DAY_US),
                "end": us_to_rfc3339(self.midnight_us),
            },
            headers=self.headers,
        )
        assert answer.is_success, answer.text
        return answer.json()["items"]


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def station(tmp_path: Path, clock: MovedClock) -> AsyncIterator[PlannedStation]:
    async with planned_station(tmp_path / "data", clock) as station:
        yield station


async def settle(station: PlannedStation, clock: MovedClock) -> Owner:
    organization_id, device_id, key = await station.register_device()
    email = (await station.http.get("/api/v1/users/me")).json()["email"]
    midnight_us = clock.now_us() // DAY_US * DAY_US
    owner = Owner(station, organization_id, email, device_id, key, midnight_us)
    answer = await owner.send(*(midnight_us - at * HOUR_US for at in range(24 * DAYS, 0, -1)))
    assert answer.json()["accepted"] == 24 * DAYS
    return owner


async def test_readings_go_and_what_they_come_to_stays(
    station: PlannedStation, clock: MovedClock
) -> None:
    other, owner = await settle(station, clock), await settle(station, clock)
    before = await owner.trend()
    assert [day["count"] for day in before] == [24] * DAYS
    clock.advance(ELEVEN_MINUTES_S)  # after which everything is in chunks
    await wait_until(owner.is_written, timeout_s=SOON_S)
    rules = {"rules": [{"raw_days": RAW_DAYS, "rollup_days": 365}]}

    planned = await station.http.put(PATH, json=rules, params={"dry_run": True})
    assert planned.json()["removes"]["readings"] == 24 * (DAYS - RAW_DAYS)
    assert planned.json()["removes"]["series"] == 1
    assert (await station.http.put(PATH, json=rules)).json()["dry_run"] is False
    assert len(await owner.readings()) == 24 * DAYS
    clock.advance(3_700)
    await wait_until(lambda: has_only(owner, clock), timeout_s=SOON_S)

    assert await owner.trend() == before
    assert len(await other.readings()) == 24 * DAYS
    await refuses_late(owner, clock)
    late = await other.send(clock.now_us() - 9 * DAY_US)
    assert late.json()["accepted"] == 1
    await station.log_in(owner.email)
    found = (await station.http.get(PATH)).json()
    assert found["forecast"]["bytes_steady"] is not None
    assert found["forecast"]["bytes_steady"] > 0


async def has_only(owner: Owner, clock: MovedClock) -> bool:
    """Tell whether nothing is left of what is too old."""
    cutoff_us = clock.now_us() // DAY_US * DAY_US - RAW_DAYS * DAY_US
    wanted = [
        us_to_rfc3339(at)
        for at in range(cutoff_us, owner.midnight_us, HOUR_US)
        if at < owner.midnight_us
    ]
    return await owner.readings() == wanted


async def refuses_late(owner: Owner, clock: MovedClock) -> None:
    cutoff_us = clock.now_us() // DAY_US * DAY_US - RAW_DAYS * DAY_US
    answer = await owner.send(cutoff_us + 1, cutoff_us - 1)
    (fault,) = answer.json()["rejected"]
    assert answer.json()["accepted"] == 1
    assert (fault["index"], fault["error"]) == (1, "beyond_retention")
    assert us_to_rfc3339(cutoff_us) in fault["detail"]
    alone = await owner.send(cutoff_us - 2)
    assert (alone.status_code, alone.json()["error"]) == (422, "no_valid_readings")

    def publish() -> list[int]:
        with MqttClient(owner.station.mqtt.port, owner.device_id, owner.key, version=5) as client:
            body = {"sensor_type": "t", "value": 1, "timestamp": us_to_rfc3339(cutoff_us - 3)}
            client.publish(f"devices/{owner.device_id}/readings", body)
            return client.reasons

    assert await asyncio.to_thread(publish) == [0x99]
    refusals = await owner.station.http.get(
        f"/api/v1/devices/{owner.device_id}/refusals", headers=owner.headers
    )
    assert [one["error"] for one in refusals.json()["items"]] == ["beyond_retention"]
