"""``fieldstation doctor`` says what is wrong, ends accordingly, and disturbs nobody."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.sqlite_backup.stations import StationFiles, make_station
from tests.cli.commands import run_command
from tests.clients import StationClient
from tests.secure_client import issue
from tests.services import fresh_server_database
from tests.station_process import StationProcess, running_station

ANY_PORTS = {"PORT": "0", "MQTT_LISTEN_PORT": "0", "MQTT_TLS_PORT": "0"}


def examine(
    data_dir: Path, *arguments: str, **environment: str
) -> tuple[int, dict[str, dict[str, str]]]:
    """Return doctor's exit code and its checks by name."""
    done = run_command(
        "doctor", "--json", *arguments, data_dir=data_dir, **{**ANY_PORTS, **environment}
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["healthy"] == (done.returncode == 0)
    return done.returncode, {check["name"]: check for check in found["checks"]}


@pytest.fixture
def files(tmp_path: Path) -> StationFiles:
    return make_station(tmp_path / "data", "mark")


@pytest.fixture
def held_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_running_station_is_healthy_and_its_ports_are_its_own(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        client.send(device, [{"sensor_type": "temperature", "value": 21.5}] * 10)

        code, checks = examine(
            own_station.data_dir,
            PORT=str(own_station.port),
            MQTT_LISTEN_PORT=str(own_station.mqtt_port),
        )

        client.send(device, [{"sensor_type": "temperature", "value": 22}])
    assert code == 0, checks
    assert f"process {own_station.process.pid}" in checks["station"]["detail"]
    for name in ("http port", "mqtt port"):
        assert checks[name]["detail"].endswith("is held by this station")
    assert checks["readings"]["detail"].startswith("10 in 1 series")
    assert checks["sqlite durability"]["detail"] == "journal_mode=WAL, synchronous=FULL"
    for name in ("station.db file", "telemetry.db file", "station schema", "telemetry schema"):
        assert checks[name]["verdict"] == "ok", checks[name]


def test_directory_without_a_station_is_healthy_and_stays_empty(tmp_path: Path) -> None:
    code, checks = examine(tmp_path / "none")

    assert code == 0
    assert "does not exist yet" in checks["data directory"]["detail"]
    assert list(tmp_path.iterdir()) == []


def test_each_failure_ends_with_1_and_says_what_to_do(files: StationFiles, held_port: int) -> None:
    files.directory.chmod(0o755)
    files.telemetry_db.write_bytes(b"no database" * 1000)

    done = run_command("doctor", data_dir=files.directory, **{**ANY_PORTS, "PORT": str(held_port)})

    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("failure")]
    assert [" ".join(line.split()[1:3]) for line in failed] == [
        "data directory",
        "http port",
        "telemetry.db file",
        "telemetry schema",
    ]
    assert f"→ chmod 700 {files.directory}" in done.stdout


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "eighty"), ("DATABASE_URL", "oracle://station@db/station")]
)
def test_setting_that_cannot_be_used_is_a_failure_that_names_it(
    name: str, value: str, tmp_path: Path
) -> None:
    code, checks = examine(tmp_path, **{name: value})

    assert code == 1
    assert checks["settings"]["verdict"] == "failure"
    assert checks["settings"]["detail"].startswith(name)


def test_certificate_authority_of_another_secret_is_a_failure(tmp_path: Path) -> None:
    directory, secret = tmp_path / "data", {"SECRET_KEY": "the secret of this station"}
    issue(directory, "server", "localhost", **secret)
    relaxed, checks = examine(directory, **secret)
    assert relaxed == 0
    assert checks["certificate authority"]["detail"].startswith("Opens")

    code, checks = examine(directory, SECRET_KEY="another one")

    assert code == 1
    assert [name for name, check in checks.items() if check["verdict"] == "failure"] == [
        "certificate authority"
    ]
    assert "SECRET_KEY" in checks["certificate authority"]["detail"]


def test_production_is_held_to_more(files: StationFiles) -> None:
    relaxed, _ = examine(files.directory)
    strict, checks = examine(files.directory, "--production")

    assert (relaxed, strict) == (0, 1)
    for name in ("environment", "secret key", "encryption"):
        assert checks[name]["verdict"] == "failure"


@pytest.mark.parametrize(
    ("kind", "sign"), [("postgresql", "fsync=on"), ("mariadb", "innodb_flush_log_at_trx_commit=1")]
)
def test_a_server_is_examined_in_place_of_files(tmp_path: Path, kind: str, sign: str) -> None:
    with fresh_server_database(kind) as url:
        code, checks = examine(tmp_path / "none", DATABASE_URL=url, ENABLE_MQTT="false")

    assert code == 0, checks
    for target in ("station", "telemetry"):
        assert sign in checks[f"{target} durability"]["detail"]
    assert "sqlite durability" not in checks
    assert "mqtt port" not in checks


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_readings_on_a_server_are_measured_beside_the_station(tmp_path: Path, kind: str) -> None:
    with (
        fresh_server_database(kind) as url,
        running_station(tmp_path / "data", database_url=url) as station,
        StationClient(station.url) as client,
    ):
        device = client.sign_up().register_device()
        client.send(device, [{"sensor_type": "temperature", "value": 21.5}] * 10)
        _, checks = examine(tmp_path / "data", DATABASE_URL=url)

    assert checks["readings"]["detail"].startswith("10 in 1 series")
    assert checks["sealed readings"]["detail"] == "0.0% of all, 0.00 bytes for each"
    assert checks["hot readings"]["detail"].endswith("10 still in the log")
    assert checks["rollups"]["detail"].startswith("0 bytes")
