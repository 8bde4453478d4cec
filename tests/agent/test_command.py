"""The command line: what it accepts, what it refuses and how it says so."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fieldstation.agent.__main__ import app
from fieldstation.agent.command import agent, parse_station, read_authority, read_key
from fieldstation.cli.agent import agent as registered
from fieldstation.core.errors import Invalid
from tests.agent.broker import Broker, free_port
from tests.agent.certificates import write_certificates
from tests.agent.processes import DEVICE_ID, DEVICE_KEY

LOGGER = logging.getLogger("fieldstation.agent")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[CliRunner]:
    """A runner in an environment of its own; the process gets its signals and its log back."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    handlers, propagate, level = LOGGER.handlers, LOGGER.propagate, LOGGER.level
    environment = {
        "FIELDSTATION_AGENT_DEVICE_ID": DEVICE_ID,
        "FIELDSTATION_AGENT_KEY": DEVICE_KEY,
        "FIELDSTATION_AGENT_DATA_DIR": str(tmp_path / "spool"),
        "FIELDSTATION_AGENT_INTERVAL_S": "0.05",
    }
    yield CliRunner(env=environment)
    for number, handler in before:
        signal.signal(number, handler)
    LOGGER.handlers, LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)


def test_the_station_command_is_the_same_function() -> None:
    assert registered is agent


def test_help_shows_an_example_and_the_settings(run: CliRunner) -> None:
    result = run.invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "Example: fieldstation agent --station mqtt://" in result.output
    assert "FIELDSTATION_AGENT_STATION" in result.output


def test_once_delivers_and_ends_with_0(run: CliRunner, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", passwords={DEVICE_ID: DEVICE_KEY}) as broker:
        result = run.invoke(app, ["--station", f"mqtt://127.0.0.1:{broker.port}", "--once"])
    assert result.exit_code == 0, result.output
    assert "station_connected" in result.output
    assert DEVICE_KEY not in result.output


def test_once_over_tls_delivers(run: CliRunner, tmp_path: Path) -> None:
    certificates = write_certificates(tmp_path / "certificates")
    authority = str(certificates / "authority.pem")
    with Broker(tmp_path / "broker", tls=certificates) as broker:
        address = f"127.0.0.1:{broker.port}"
        for arguments in (
            ["--station", f"mqtts://{address}"],
            ["--station", f"mqtt://{address}", "--tls"],
        ):
            result = run.invoke(app, [*arguments, "--ca-file", authority, "--once"])
            assert result.exit_code == 0, result.output


def test_once_without_a_station_ends_with_1_and_one_sentence(run: CliRunner) -> None:
    result = run.invoke(app, ["--station", f"mqtt://127.0.0.1:{free_port()}", "--once"])
    assert result.exit_code == 1
    last_line = result.output.splitlines()[-1]
    assert last_line.startswith("fieldstation agent: The sample was not delivered: cannot reach")
    assert last_line.endswith("it waits in the spool for the next run.")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"FIELDSTATION_AGENT_DEVICE_ID": ""}, "Say which device this is"),
        ({"FIELDSTATION_AGENT_DEVICE_ID": "a/#"}, "--device-id is no device id"),
        ({"FIELDSTATION_AGENT_KEY": ""}, "There is no device key"),
        ({"FIELDSTATION_AGENT_KEY_FILE": "missing"}, "Cannot read missing (No such file"),
        ({"FIELDSTATION_AGENT_STATION": "http://here"}, "write mqtt://HOST:PORT"),
        (
            {"FIELDSTATION_AGENT_TLS": "1", "FIELDSTATION_AGENT_CA_FILE": "missing"},
            "name a PEM file with --ca-file",
        ),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_do(
    run: CliRunner, environment: dict[str, str], sentence: str
) -> None:
    result = run.invoke(app, ["--once"], env=environment)
    assert result.exit_code == 2
    assert result.output.startswith("fieldstation agent: ")
    assert sentence in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("interval", ["0", "-1", "often", "100000"])
def test_interval_outside_its_limits_is_wrong_usage(run: CliRunner, interval: str) -> None:
    assert run.invoke(app, ["--interval-s", interval]).exit_code == 2


@pytest.mark.parametrize(
    ("url", "encrypted", "port"),
    [
        ("mqtt://station.local", False, 1883),
        ("mqtts://station.local", True, 8883),
        ("mqtt://station.local/", True, 8883),
        ("mqtt://station.local:1234", False, 1234),
    ],
)
def test_address_has_a_standard_port(url: str, *, encrypted: bool, port: int) -> None:
    tls = read_authority(None) if encrypted else None
    where = parse_station(url, device_id="d1", key="k", tls=tls)
    assert (where.host, where.port) == ("station.local", port)


def test_address_may_be_ipv6() -> None:
    where = parse_station("mqtt://[::1]:1883", device_id="d1", key="k", tls=None)
    assert (where.host, where.port) == ("::1", 1883)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "station.local:1883",
        "mqtt://",
        "mqtt://station:99999",
        "mqtt://station:0",
        "mqtt://station:port",
        "mqtt://[::1",
        "mqtt://user:word@station",
        "mqtt://station/topic",
        "mqtt://station?x=1",
    ],
)
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        parse_station(url, device_id="d1", key="k", tls=None)


def test_key_in_the_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(Invalid, match="takes only host and port") as refusal:
        parse_station("mqtt://d1:fsd_secret@station", device_id="d1", key="k", tls=None)
    assert "fsd_secret" not in refusal.value.detail


def test_key_file_comes_before_the_environment_and_is_stripped(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(" fsd_file\r\n")
    assert read_key(file, "fsd_environment") == "fsd_file"
    assert read_key(None, "fsd_environment\n") == "fsd_environment"


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"two\nlines", b"k" * 2_000])
def test_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(Invalid, match="There is no device key"):
        read_key(file, "")


def test_binary_key_file_is_refused_without_repeating_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe\x00secret")
    with pytest.raises(Invalid, match="holds no device key") as refusal:
        read_key(file, "")
    assert "secret" not in refusal.value.detail
