"""A certificate that one node issued counts at every node, and ends at every node."""

import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.commands import run_command
from tests.clients import StationClient, TestDevice, expect
from tests.nodes.conftest import SECRET
from tests.secure_client import SecureClient, free_port, issue, tls_settings
from tests.services import fresh_postgresql_database, missing_service
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

HOSTS = ("127.0.0.1", "localhost")
REVOKED_WITHIN_S = 2.0
READING = '{"sensor_type": "t", "value": 1}'


@dataclass(frozen=True)
class SecureNode:
    """A node with a TLS port, under a name of its own."""

    station: StationProcess
    host: str
    tls_port: int
    trusts: Path

    def client(self, certificate: Path | None, *, key: str | None = None) -> SecureClient:
        return SecureClient(self.tls_port, self.trusts, certificate, host=self.host, key=key)

    def code(self, certificate: Path | None) -> int:
        with self.client(certificate) as client:
            return client.codes[0]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with fresh_postgresql_database() as url:
        yield url


@pytest.fixture(scope="module")
def nodes(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SecureNode]]:
    """Two nodes whose server certificates were the first that anybody asked for, at one time."""
    directories = [tmp_path_factory.mktemp(name) / "data" for name in "ab"]
    environment = {"SECRET_KEY": SECRET, "DATABASE_URL": database}

    def issue_server(directory: Path, host: str) -> Path:
        return issue(directory, "server", host, **environment)

    with ThreadPoolExecutor(len(HOSTS)) as threads:
        certificates = list(threads.map(issue_server, directories, HOSTS))
    with ExitStack() as stack:
        nodes: list[SecureNode] = []
        for directory, host, certificate in zip(directories, HOSTS, certificates, strict=True):
            port = free_port()
            station = running_station(
                directory,
                database_url=database,
                environment={
                    "SECRET_KEY": SECRET,
                    "NODE_ID": f"node-{host}".replace(".", "-"),
                    **tls_settings(certificate, port),
                },
            )
            trusts = certificates[0].with_name("authority.pem")
            nodes.append(SecureNode(stack.enter_context(station), host, port, trusts))
        yield nodes


@pytest.fixture
def owner(nodes: list[SecureNode]) -> Iterator[StationClient]:
    with StationClient(nodes[0].station.url) as owner:
        yield owner.sign_up()


def issue_at(node: SecureNode, device: TestDevice) -> Path:
    return issue(node.station.data_dir, "issue", device.id)


def test_nodes_that_begin_together_have_one_authority(nodes: list[SecureNode]) -> None:
    authorities = {
        file.read_text()
        for node in nodes
        for file in node.station.data_dir.parent.glob("certs-*/authority.pem")
    }
    assert len(authorities) == 1
    for node in nodes:
        assert not (node.station.data_dir / "authority").exists()


def test_whichever_node_issued_a_certificate_each_lets_its_device_in(
    nodes: list[SecureNode], owner: StationClient
) -> None:
    for issuing in nodes:
        device = owner.register_device()
        certificate = issue_at(issuing, device)
        for node in nodes:
            with node.client(certificate) as client:
                assert client.codes == [0]
                assert client.publish(f"devices/{device.id}/readings", READING) == 0
            assert node.code(None) == 0x86
            with node.client(None, key=device.api_key) as client:
                assert client.codes == [0]


def test_mosquitto_connects_to_each_node_under_its_name_with_one_authority_file(
    nodes: list[SecureNode], owner: StationClient
) -> None:
    if shutil.which("mosquitto_pub") is None:
        missing_service("no mosquitto_pub")
    device = owner.register_device()
    certificate = issue_at(nodes[0], device)
    for node in nodes:
        done = subprocess.run(
            [
                "mosquitto_pub",
                *("-h", node.host, "-p", str(node.tls_port), "--cafile", node.trusts),
                *("--cert", certificate, "--key", certificate.with_suffix(".key")),
                *("-q", "1", "-t", f"devices/{device.id}/readings", "-m", READING),
            ],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert owner.get(device.readings_path)["items"]


def test_a_certificate_that_is_revoked_or_whose_device_is_deleted_ends_at_both_nodes(
    nodes: list[SecureNode], owner: StationClient
) -> None:
    for way in ("revoked", "deleted"):
        device = owner.register_device()
        certificate = issue_at(nodes[1], device)
        path = f"/api/v1/devices/{device.id}"
        if way == "revoked":
            (key,) = [
                each["id"]
                for each in owner.get(f"{path}/keys")["items"]
                if each["name"].startswith("certificate")
            ]
            path = f"{path}/keys/{key}"
        with ExitStack() as stack:
            clients = [stack.enter_context(node.client(certificate)) for node in nodes]
            assert [client.codes for client in clients] == [[0], [0]]
            expect(owner.http.delete(path), 204)
            for client in clients:
                wait_until_blocking(lambda client=client: client.closed, timeout_s=REVOKED_WITHIN_S)
        assert [node.code(certificate) for node in nodes] == [0x86, 0x86]


def test_a_node_with_another_secret_serves_keys_and_says_what_to_do(
    nodes: list[SecureNode], owner: StationClient, database: str, tmp_path: Path
) -> None:
    device = owner.register_device()
    certificate = issue_at(nodes[0], device)
    server = nodes[0].trusts.with_name(f"{HOSTS[0]}.pem")
    port, directory = free_port(), tmp_path / "data"
    environment = {"SECRET_KEY": "not that of the others", **tls_settings(server, port)}
    with running_station(directory, database_url=database, environment=environment) as station:
        other = SecureNode(station, HOSTS[0], port, nodes[0].trusts)
        assert other.code(certificate) == 0x86
        with other.client(None, key=device.api_key) as client:
            assert client.codes == [0]
        refused = run_command("cert", "issue", device.id, data_dir=directory)
        assert refused.returncode == 1
        assert "give it that of the other nodes" in refused.stderr
        assert "certificate_authority_sealed" in station.output()
    assert [node.code(certificate) for node in nodes] == [0, 0]
