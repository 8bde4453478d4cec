"""One station for all conformance tests of a worker, with a plain, a TLS and a WebSocket port."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import StationClient
from tests.conformance.space import Space
from tests.secure_client import free_port, issue
from tests.station_process import StationProcess, running_station


@pytest.fixture(scope="session")
def tls_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, tls_port: int) -> Iterator[StationProcess]:
    """The station under test."""
    directory: Path = tmp_path_factory.mktemp("conformance") / "station"
    certificate = issue(directory, "server", "127.0.0.1")
    environment = {
        "MQTT_TLS_PORT": str(tls_port),
        "MQTT_TLS_CERT_FILE": str(certificate),
        "MQTT_TLS_KEY_FILE": str(certificate.with_suffix(".key")),
    }
    with running_station(directory, environment=environment) as station:
        yield station


@pytest.fixture(scope="session")
def owner(broker: StationProcess) -> Iterator[StationClient]:
    with StationClient(broker.url) as client:
        yield client.sign_up()


@pytest.fixture(scope="session")
def account(owner: StationClient) -> tuple[str, str]:
    """A user's name and key: a general broker's client within its organization."""
    return owner.email, owner.issue_user_key("telemetry:read", "telemetry:write")


@pytest.fixture
def space(broker: StationProcess, account: tuple[str, str]) -> Space:
    """A part of the topics that no other test uses."""
    return Space(broker, *account)
