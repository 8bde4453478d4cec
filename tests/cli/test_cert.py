"""``fieldstation cert``: devices come in by certificate, and stay out when it is revoked."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import run_command
from tests.clients import StationClient, expect
from tests.kept_authority import kept_authority, take_back
from tests.secure_client import SecureClient, free_port, issue, tls_settings
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking


@pytest.fixture
def tls_port() -> int:
    return free_port()


@pytest.fixture
def secure_station(tmp_path: Path, tls_port: int) -> Iterator[StationProcess]:
    directory = tmp_path / "station"
    certificate = issue(directory, "server", "127.0.0.1")
    with running_station(directory, environment=tls_settings(certificate, tls_port)) as station:
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


def code_of(port: int, trusts: Path, certificate: Path | None, *, key: str | None = None) -> int:
    """Return how a connection is answered."""
    with SecureClient(port, trusts, certificate, key=key) as client:
        return client.codes[0]


def test_certificates_of_an_earlier_version_are_accepted_from_the_database(
    secure_station: StationProcess, tls_port: int
) -> None:
    station = secure_station
    with StationClient(station.url) as owner:
        device = owner.sign_up().register_device()
    certificate = issue(station.data_dir, "issue", device.id)
    trusts = certificate.with_name("authority.pem")
    assert station.stop() == 0
    pair = take_back(station.data_dir)
    station.start()
    assert code_of(tls_port, trusts, certificate) == 0
    assert "certificate_authority_in_directory" in station.output()
    assert station.stop() == 0
    shutil.rmtree(station.data_dir / "authority")
    station.start()
    assert code_of(tls_port, trusts, certificate) == 0
    kept = kept_authority(station.data_dir)
    assert kept is not None
    assert kept.pair == pair


def test_without_the_secret_only_keys_let_in_until_it_is_back_or_given_up(
    tmp_path: Path, tls_port: int
) -> None:
    directory, first = tmp_path / "station", {"SECRET_KEY": "the first secret of this station"}
    server = issue(directory, "server", "127.0.0.1", **first)
    trusts = server.with_name("authority.pem")
    tls = tls_settings(server, tls_port)
    with running_station(directory, environment={**tls, **first}) as station:
        with StationClient(station.url) as owner:
            device = owner.sign_up().register_device()
        certificate = issue(directory, "issue", device.id)
        assert code_of(tls_port, trusts, certificate) == 0

    second = {"SECRET_KEY": "another secret of this station"}
    with running_station(directory, environment={**tls, **second}) as station:
        assert code_of(tls_port, trusts, certificate) == 0x86
        assert code_of(tls_port, trusts, None, key=device.api_key) == 0
        assert "certificate_authority_sealed" in station.output()
        refused = run_command("cert", "issue", device.id, data_dir=directory)
    for done in (refused, run_command("cert", "server", "x", data_dir=directory, **second)):
        assert done.returncode == 1
        (sentence,) = done.stderr.splitlines()
        assert "SECRET_KEY" in sentence
        assert "PREVIOUS_SECRET_KEYS" in sentence
    assert not list(directory.parent.glob("*.pem"))

    both = {**second, "PREVIOUS_SECRET_KEYS": first["SECRET_KEY"]}
    with running_station(directory, environment={**tls, **both}):
        assert code_of(tls_port, trusts, certificate) == 0
    with running_station(directory, environment={**tls, **second}):
        assert code_of(tls_port, trusts, certificate) == 0


def test_a_secret_key_that_is_set_later_opens_what_the_kept_secret_sealed(tmp_path: Path) -> None:
    directory = tmp_path / "station"
    before = issue(directory, "server", "a").with_name("authority.pem").read_text()
    later = {"SECRET_KEY": "a secret that an operator chose"}
    after = issue(directory, "server", "b", **later).with_name("authority.pem").read_text()
    (directory / "secret_key").unlink()
    at_last = issue(directory, "server", "c", **later).with_name("authority.pem").read_text()
    assert before == after == at_last


def test_an_authority_is_given_up_only_by_force(tmp_path: Path) -> None:
    directory, environment = tmp_path / "station", {"SECRET_KEY": "the one that is lost"}
    lost = issue(directory, "server", "a", **environment).with_name("authority.pem").read_text()
    environment = {"SECRET_KEY": "the new one"}
    refused = run_command("cert", "reset", data_dir=directory, **environment)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert run_command("cert", "server", "b", data_dir=directory, **environment).returncode == 1
    done = run_command("cert", "reset", "--force", data_dir=directory, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Start every node again." in done.stdout
    made = issue(directory, "server", "b", **environment).with_name("authority.pem").read_text()
    assert made != lost
