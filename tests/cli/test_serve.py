"""``serve``: one sentence when it cannot, and everything drained when it ends."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from fieldstation.cli import app
from tests.cli.commands import run_command
from tests.clients import StationClient
from tests.station_process import StationProcess, running_station

ANY_PORTS = ("--port", "0", "--mqtt-port", "0")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    """A station that these tests share."""
    with running_station(tmp_path_factory.mktemp("serve") / "data") as station:
        yield station


def refused(*arguments: str, data_dir: Path, **environment: str) -> str:
    """Return the one sentence with which ``serve`` ends."""
    done = run_command("serve", *arguments, data_dir=data_dir, **environment)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fieldstation: ")
    assert "Traceback" not in done.stderr
    return lines[0]


def test_it_says_where_it_is_and_answers_there(standing: StationProcess) -> None:
    assert httpx2.get(f"{standing.url}/health/live").status_code == 200
    ready = [line for line in standing.lines if "Fieldstation ready" in line]
    assert len(ready) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_it_and_it_ends_with_0(
    own_station: StationProcess, number: signal.Signals
) -> None:
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        client.send(device, {"sensor_type": "t", "value": 1})
        own_station.signal(number)
        assert own_station.process.wait(15) == 0
        assert "Traceback" not in own_station.output()
        assert not (own_station.data_dir / "control.sock").exists()
        own_station.start()
        assert len(client.get(device.readings_path)["items"]) == 1


def test_its_directory_is_private(standing: StationProcess) -> None:
    assert standing.data_dir.stat().st_mode & 0o077 == 0
    files = [path for path in standing.data_dir.rglob("*") if path.is_file()]
    assert {"station.db", "telemetry.db", "node_id"} <= {path.name for path in files}
    assert [path.name for path in files if path.stat().st_mode & 0o077] == []


def test_a_second_process_on_the_same_directory_is_refused(standing: StationProcess) -> None:
    sentence = refused(*ANY_PORTS, data_dir=standing.data_dir)
    assert "Another station already uses" in sentence
    assert "--data-dir" in sentence
    assert httpx2.get(f"{standing.url}/health").status_code == 200


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = refused("--port", port, "--mqtt-port", "0", data_dir=tmp_path / "a")
        assert port in sentence
        assert "--port" in sentence
        sentence = refused("--port", "0", "--mqtt-port", port, data_dir=tmp_path / "b")
        assert port in sentence
        assert "--mqtt-port" in sentence or "MQTT_LISTEN_PORT" in sentence


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"ENVIRONMENT": "production", "SECRET_KEY": "hunter2-secret"}, "SECRET_KEY"),
        ({"DATABASE_URL": "postgresql://u:hunter2-secret@host:port/x"}, "DATABASE_URL"),
        ({"TELEMETRY_DATABASE_URL": "hunter2-secret"}, "TELEMETRY_DATABASE_URL"),
        (
            {"MQTT_TLS_PORT": "0", "MQTT_TLS_CERT_FILE": "/none", "MQTT_TLS_KEY_FILE": "/none"},
            "MQTT_TLS_CERT_FILE",
        ),
        ({"TLS_CERT_FILE": "/none", "TLS_KEY_FILE": "/none"}, "TLS_CERT_FILE"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    tmp_path: Path, environment: dict[str, str], named: str
) -> None:
    sentence = refused(*ANY_PORTS, data_dir=tmp_path / "data", **environment)
    assert named in sentence
    assert "hunter2-secret" not in sentence


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert "DATA_DIR" in refused(*ANY_PORTS, data_dir=file)


def test_a_database_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    assert "DATABASE_URL" in refused(*ANY_PORTS, "--database-url", url, data_dir=tmp_path)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "telemetry.db").write_bytes(b"a letter to the editor " * 500)
    assert "telemetry.db" in refused(*ANY_PORTS, data_dir=tmp_path)


@pytest.mark.parametrize("usage", ["serve --port 70000", "serve --colour", "dance", "user dance"])
def test_wrong_usage_ends_with_2(usage: str) -> None:
    assert CliRunner().invoke(app, usage.split()).exit_code == 2


@pytest.mark.parametrize("command", ["serve", "demo", "migrate", "user create", "user list"])
def test_help_shows_an_example(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert "Example: fieldstation" in done.output


def test_options_win_over_the_environment(tmp_path: Path) -> None:
    environment = {"PORT": "1", "MQTT_LISTEN_PORT": "1", "API_HOST": "127.0.0.1"}
    with running_station(tmp_path / "data", environment=environment) as station:
        assert station.port > 1
