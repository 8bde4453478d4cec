"""Points and rollups through the door of a real station, and queries that nobody waits for."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.clients import StationClient, TestDevice
from tests.services import fresh_postgresql_database
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until, wait_until_blocking

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
START_US = 20_574 * DAY_US  # 2026-05-01
SINCE = "2026-05-01T00:00:00Z"
PERIOD = {"start": SINCE, "end": START_US + 3 * DAY_US}
AGGREGATES = "avg,min,max,sum,count,first,last,stddev"
ROLLED_UP = [{"interval": i, "aggregate": AGGREGATES, **PERIOD} for i in ("1h", "1d", "2d")]
ROLLED_UP_S_MAX = 20.0
NOTICED_S_MAX = 10.0
WAITING = (
    "SELECT COUNT(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    " AND query LIKE '%json_array_elements%'"
)
"""What was asked for; the job that seals waits as well, for its list of the oldest chunks."""


def send_hours(client: StationClient, device: TestDevice, hours: int) -> list[float]:
    values = [float((at * 37) % 101) for at in range(4 * hours)]
    readings = [
        {"sensor_type": "t", "value": value, "timestamp": START_US + at * HOUR_US // 4}
        for at, value in enumerate(values)
    ]
    assert client.send(device, readings)["accepted"] == len(values)
    return values


def items(client: StationClient, device: TestDevice, **query: Any) -> list[dict[str, Any]]:
    return client.get(device.readings_path, **query)["items"]


def test_points_keep_the_extremes_and_are_no_more_than_asked_for(owner: StationClient) -> None:
    device = owner.register_device()
    values = send_hours(owner, device, 48)
    owner.send(device, {"sensor_type": "door", "value": True, "timestamp": START_US})
    owner.send(device, {"sensor_type": "words", "value": "ajar", "timestamp": START_US})

    found = items(owner, device, max_points=20)

    own = [row for row in found if row["sensor_type"] == "t"]
    assert 10 <= len(own) <= 20
    assert {row["value"] for row in own} <= set(values)
    assert (min(values), max(values)) == (
        min(row["value"] for row in own),
        max(row["value"] for row in own),
    )
    assert [row["timestamp"] for row in own] == sorted(row["timestamp"] for row in own)
    assert [row["value"] for row in found if row["sensor_type"] == "door"] == [1]
    assert {row["sensor_type"] for row in found} == {"t", "door"}
    assert found == owner.get("/api/v1/readings", device_id=device.id, max_points=20)["items"]


@pytest.mark.parametrize(
    "query", [{"max_points": 3}, {"max_points": 5_001}, {"max_points": 9, "interval": "1h"}]
)
def test_points_that_make_no_sense_are_422(owner: StationClient, query: dict[str, Any]) -> None:
    owner.get("/api/v1/readings", status=422, **query)


def test_too_many_points_of_all_series_are_refused_with_advice(owner: StationClient) -> None:
    device = owner.register_device()
    readings = [{"sensor_type": f"t{number}", "value": 1} for number in range(21)]
    owner.send(device, readings)

    body = owner.get(device.readings_path, status=422, max_points=5_000)

    assert "105000 points of 21 series" in body["detail"]
    assert len(items(owner, device, max_points=4_000)) == 21


def test_station_rolls_up_what_it_flushed_and_answers_the_same(tmp_path: Path) -> None:
    with running_station(tmp_path) as station:
        with StationClient(station.url) as client:
            client.sign_up()
            device = client.register_device()
            send_hours(client, device, 60)
            before = [items(client, device, **asked) for asked in ROLLED_UP]
            stats = client.get(f"{device.readings_path}/stats")
        station.stop()  # which flushes
        station.start()
        file = tmp_path / "telemetry.db"
        wait_until_blocking(lambda: is_rolled_up(file), timeout_s=ROLLED_UP_S_MAX)
        forget_chunks(file)

        with StationClient(station.url) as again:
            again.email = client.email
            again.log_in()
            after = [items(again, device, **asked) for asked in ROLLED_UP]
            assert items(again, device) == []
    for found, expected in zip(after, before, strict=True):
        assert len(found) == len(expected) > 0
        for row, wanted in zip(found, expected, strict=True):
            assert row["start"] == wanted["start"]
            for name in AGGREGATES.split(","):
                assert row[name] == pytest.approx(wanted[name], rel=1e-9), name
    assert stats["items"][0]["count"] == sum(row["count"] for row in after[0])


def is_rolled_up(file: Path) -> bool:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        ((blocks,),) = connection.execute("SELECT COUNT(*) FROM rollup").fetchall()
        ((left,),) = connection.execute("SELECT COUNT(*) FROM rollup_stale").fetchall()
    return blocks > 0 and left <= 1  # the last hour of a day is not over before the station's now


def forget_chunks(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("DELETE FROM chunk")


@pytest.fixture
def postgresql_station(tmp_path: Path) -> Iterator[tuple[StationProcess, str]]:
    with fresh_postgresql_database() as url, running_station(tmp_path, database_url=url) as station:
        yield station, url


@pytest.mark.anyio
@pytest.mark.parametrize(
    "question",
    [
        "{readings}/stats",
        "{readings}?interval=1h",
        "{readings}?max_points=9",
        "{readings}?limit=5",
        "/api/v1/analytics/trends",
    ],
)
async def test_client_that_leaves_stops_its_query(
    postgresql_station: tuple[StationProcess, str], question: str
) -> None:
    station, url = postgresql_station
    with StationClient(station.url) as client:
        client.sign_up()
        device = client.register_device()
        client.send(device, {"sensor_type": "t", "value": 1})
        locking, watching = await asyncpg.connect(url), await asyncpg.connect(url)
        try:
            await locking.execute("BEGIN; LOCK TABLE chunk, rollup IN ACCESS EXCLUSIVE MODE")
            asking = ask(station, question.format(readings=device.readings_path), client.token)
            await wait_until(lambda: are_waiting(watching, 1), timeout_s=NOTICED_S_MAX)
            asking.close()
            await wait_until(lambda: are_waiting(watching, 0), timeout_s=NOTICED_S_MAX)
        finally:
            await locking.close()
            await watching.close()
        assert client.get(device.readings_path)["items"][0]["value"] == 1


async def are_waiting(connection: asyncpg.Connection, queries: int) -> bool:
    return await connection.fetchval(WAITING) == queries


def ask(station: StationProcess, path: str, token: str) -> socket.socket:
    """Send a request and return the connection."""
    where = urlsplit(station.url)
    connection = socket.create_connection((where.hostname or "", where.port or 0))
    head = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}"
    connection.sendall(f"{head}\r\n\r\n".encode())
    return connection
