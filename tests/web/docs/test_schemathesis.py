"""Schemathesis over the whole API of a real station: every check on, nothing found."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from tests.clients import PASSWORD, StationClient
from tests.security.matrix.world import finished_export, group_of
from tests.station_process import StationProcess, running_station

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
RUN_TIMEOUT_S = 900
OBJECTS = 8
METRICS_TOKEN = "metrics-token-of-the-tests"
SUCCESS = re.compile(
    r'^rover_api_requests_total{endpoint="(.+)",method="(.+)",status="2', re.MULTILINE
)
SUCCEEDED_MIN = 0.85
"""Of all operations; the others need a secret or luck, and `test_described.py` has them all."""


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    environment = {"FAILED_LOGINS_MAX": "1000000", "METRICS_TOKEN": METRICS_TOKEN}
    directory = tmp_path_factory.mktemp("schemathesis") / "data"
    with running_station(directory, environment=environment) as station:
        yield station


@pytest.mark.takes_minutes
def test_schemathesis_finds_nothing(station: StationProcess, tmp_path: Path) -> None:
    with StationClient(station.url) as owner, StationClient(station.url) as passing:
        passing.sign_up()
        known = make_objects(owner.sign_up())
        environment = {
            "STATION_URL": station.url,
            "OWNER_TOKEN": owner.token,
            "METRICS_TOKEN": METRICS_TOKEN,
            "DEVICE_KEY": known.pop("device_key")[0],
            "PASSING_EMAIL": passing.email,
            "PASSING_PASSWORD": PASSWORD,
        }
    shutil.copy(HERE / "schemathesis.toml", tmp_path)
    for name, values in known.items():
        (tmp_path / f"{name}.txt").write_text("".join(f'"{value}"\n' for value in values))

    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"),
            *("run", f"{station.url}/openapi.json"),
        ],
        cwd=tmp_path,
        env={**unmeasured(os.environ), **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )

    assert run.returncode == 0, f"{run.stdout[-20_000:]}\n{station.output()[-10_000:]}"
    everything = documented(station)
    missed = everything - succeeded(station)
    assert len(missed) <= (1 - SUCCEEDED_MIN) * len(everything), missed


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would have coverage trace Schemathesis, of which nothing is counted."""
    return {k: v for k, v in environment.items() if not k.startswith("COVERAGE_")}


def make_objects(owner: StationClient) -> dict[str, list[str]]:
    """Make what requests may ask for; return the ids, and one device apart with its key."""
    devices = [owner.register_device() for _ in range(OBJECTS)]
    for device in devices:
        owner.send(device, [{"sensor_type": "temperature", "value": 21.5}])
    keys = [{"name": "one", "scopes": ["devices:read"]} for _ in range(OBJECTS)]
    users = [{"email": f"hired-{number}-{owner.email}"} for number in range(OBJECTS)]
    me = owner.get("/api/v1/users/me")
    return {
        "device_key": [devices[0].api_key],
        "device": [devices[0].id],
        "devices": [device.id for device in devices[1:]],
        "exports": [finished_export(owner) for _ in range(OBJECTS)],
        "groups": [group_of(owner, device) for device in devices],
        "keys": [owner.http.post("/api/v1/auth/api-keys", json=k).json()["id"] for k in keys],
        "users": [owner.http.post("/api/v1/users", json=user).json()["id"] for user in users],
        "organizations": [me["organizations"][0]["organization_id"]],
    }


def documented(station: StationProcess) -> set[tuple[str, str]]:
    """Return path and method of every operation."""
    paths = httpx2.get(f"{station.url}/openapi.json").json()["paths"]
    return {(path, method.upper()) for path, item in paths.items() for method in item}


def succeeded(station: StationProcess) -> set[tuple[str, str]]:
    """Return path and method of what the station has answered with success."""
    return set(SUCCESS.findall(httpx2.get(f"{station.url}/metrics").text))
