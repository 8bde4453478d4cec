"""``fieldstation cert``: devices come in by certificate, and stay out when it is revoked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import run_command
from tests.clients import StationClient, expect
from tests.secure_client import SecureClient, free_port, issue
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking


@pytest.fixture
def tls_port() -> int:
    return free_port()


@pytest.fixture
def secure_station(tmp_path: Path, tls_port: int) -> Iterator[StationProcess]:
    directory = tmp_path / "station"
    certificate = issue(directory, "server", "127.0.0.1")
    environment = {
        "MQTT_TLS_PORT": str(tls_port),
        "MQTT_TLS_CERT_FILE": str(certificate),
        "MQTT_TLS_KEY_FILE": str(certificate.with_suffix(".key")),
    }
    with running_station(directory, environment=environment) as station:
        yield station


def test_a_device_comes_in_by_its_certificate_until_that_is_revoked(
    secure_station: StationProcess, tls_port: int
) -> None:
    station = secure_station
    with StationClient(station.url) as owner:
        device = owner.sign_up().register_device()
        other = owner.register_device()
        certificate = issue(station.data_dir, "issue", device.id)
        assert certificate.with_suffix(".key").stat().st_mode & 0o777 == 0o600
        trusts = certificate.with_name("authority.pem")
        with SecureClient(tls_port, trusts, certificate) as client:
            assert client.codes == [0]
            body = '{"sensor_type": "t", "value": 1}'
            assert client.publish(f"devices/{device.id}/readings", body) == 0
            assert client.publish(f"devices/{other.id}/readings", body) == 0x87
            assert len(owner.get(device.readings_path)["items"]) == 1
            keys_path = f"/api/v1/devices/{device.id}/keys"
            (key,) = [
                each
                for each in owner.get(keys_path)["items"]
                if each["name"].startswith("certificate")
            ]
            expect(owner.http.delete(f"{keys_path}/{key['id']}"), 204)
            wait_until_blocking(lambda: client.closed, timeout_s=2)
        with SecureClient(tls_port, trusts, certificate) as client:
            assert client.codes == [0x86]


def test_without_a_certificate_or_with_one_of_others_nobody_comes_in(
    secure_station: StationProcess, tls_port: int, tmp_path: Path
) -> None:
    with StationClient(secure_station.url) as owner:
        device = owner.sign_up().register_device()
    trusts = issue(secure_station.data_dir, "server", "localhost").with_name("authority.pem")
    with SecureClient(tls_port, trusts, None) as client:
        assert client.codes == [0x86]
    # Its name is the device's, but another authority signed it.
    foreign = issue(tmp_path / "elsewhere" / "station", "server", device.id)
    with SecureClient(tls_port, trusts, foreign) as client:
        assert client.closed
        assert client.codes == []


def test_an_unknown_device_gets_no_certificate(tmp_path: Path) -> None:
    done = run_command("cert", "issue", "nobody", data_dir=tmp_path / "station")
    assert done.returncode == 1
    assert "There is no such device." in done.stderr
    assert not list(tmp_path.glob("*.pem"))
