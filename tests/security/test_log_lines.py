"""Nothing that anybody sends forges a line of the station's log, over whichever door."""

import json
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from tests.clients import PASSWORD, StationClient
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.station_process import READY, StationProcess, running_station
from tests.wait_until import wait_until_blocking

MARK = "forged-4711"
EVIL = (
    f"x\r\n2026-05-01T00:00:00Z [info     ] {MARK}\n\x1b[2J\x1b]0;{MARK}\x07\x00"
    f"\u2028{MARK}\u2029{MARK}\x85{MARK}\x9b31m\u202e{MARK}\u2066{MARK}\x7f"
)
AS_HEADER = EVIL.encode("utf-8").translate(None, b"\r\n\x00")
WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[(debug|info|warning|error) *\] \S")
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
LAST = "last-request-4711"


@pytest.fixture(params=["json", "console"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Return the log of a station to whom evil names were said everywhere."""
    environment = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": request.param, "NO_COLOR": "1"}
    with running_station(tmp_path / "data", environment=environment) as station:
        with StationClient(station.url) as client:
            client.sign_up()
            say_over_http(client)
            say_over_sockets(station, client)
            say_over_mqtt(station, client)
        httpx2.get(f"{station.url}/{LAST}")
        wait_until_blocking(lambda: LAST in station.output())
        station.stop()
        return [line for line in station.output().split("\n") if line and not READY.search(line)]


def say_over_http(client: StationClient) -> None:
    http = client.http
    device = client.register_device(name=EVIL.replace("\x00", "")[-100:])
    http.patch(f"/api/v1/devices/{device.id}", json={"description": EVIL})
    for form in ({"email": EVIL, "password": EVIL}, {"username": EVIL, "password": PASSWORD}):
        http.post("/api/v1/auth/login", json=form)
    http.post("/api/v1/auth/register", json={"email": f"{EVIL}@example.org", "password": EVIL})
    http.post("/token", data={"username": EVIL, "password": EVIL, "scope": EVIL})
    for path in (quote(EVIL), f"api/v1/devices/{quote(EVIL)}", f"docs/assets/x/{quote(EVIL)}"):
        http.get(f"/{path}?{quote(EVIL)}={quote(EVIL)}")
    for name in ("User-Agent", "X-Correlation-ID", "X-Forwarded-For", "Origin", "Referer"):
        http.get("/nothing", headers={name.encode(): AS_HEADER})
    for name in ("X-Organization", "Cookie", "traceparent", "If-Match", "Idempotency-Key"):
        http.post("/api/v1/devices", json={"name": "x"}, headers={name.encode(): AS_HEADER})
    http.get("/nothing", headers={b"Authorization": b"Bearer " + AS_HEADER})
    http.request(f"A{MARK}", "/nothing")
    http.post(device.readings_path, content=EVIL, headers=device.headers)
    client.send(device, {"sensor_type": "t", "value": EVIL.replace("\x00", "")})


def say_over_sockets(station: StationProcess, client: StationClient) -> None:
    for name in ("token", "ticket", "since", "device_id"):
        query = [(name, EVIL), ("token", client.token)]
        with live(station.url, path="/ws/live-data", query=query) as socket:
            with suppress(ConnectionClosed):
                socket.socket.send(json.dumps({"type": EVIL}))
                socket.socket.send(EVIL)
            assert socket.wait_until_closed()[0] == 1008


def say_over_mqtt(station: StationProcess, client: StationClient) -> None:
    key = client.issue_user_key("telemetry:read", "telemetry:write")
    said = EVIL.replace("\x00", "")
    for version in (4, 5):
        with MqttClient(
            station.mqtt_port, said, key, client_id=said[:100], version=version
        ) as mqtt:
            if mqtt.refused is None and not mqtt.closed:
                mqtt.send(f"sensors/{said}/{said}", said)
                mqtt.send(said, said)
        with MqttClient(station.mqtt_port, said, said, client_id=said, version=version) as mqtt:
            assert mqtt.refused is not None or mqtt.closed


def test_every_line_of_the_log_is_one_that_the_station_wrote(log: list[str]) -> None:
    assert any(MARK in line for line in log)
    assert [line for line in log if FORBIDDEN.search(line)] == []
    whole = [is_whole(line) for line in log]
    assert all(whole), [line for line, is_good in zip(log, whole, strict=True) if not is_good]


def is_whole(line: str) -> bool:
    if not line.startswith("{"):
        return WRITTEN.match(line) is not None
    fields = json.loads(line)
    return {"event", "level", "timestamp"} <= set(fields) and MARK not in fields["event"]
