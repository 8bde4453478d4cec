"""The server as the station sees it: start, TLS, attach, revoke, drain, stop."""

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fieldstation.adapters.mqtt_server.options import MqttServerOptions
from fieldstation.adapters.mqtt_server.packets import ConnectCode, Publish
from fieldstation.adapters.mqtt_server.server import MqttServer
from fieldstation.core.clock import ManualClock, SystemClock
from fieldstation.core.errors import Busy
from tests.adapters.mqtt_server.memory_transport import MemoryTransport
from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    RawClient,
    Received,
    connect_bytes,
    connected,
    publish_bytes,
    raw_client,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

ACCEPTED = b"\x20\x02\x00\x00"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself; return its file and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "station")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "station.crt", folder / "station.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


def server_context(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate_file, key_file)
    return context


async def test_tls_clients_publish_and_a_failed_handshake_gives_its_place_back(
    tmp_path: Path,
) -> None:
    certificate_file, key_file = make_certificate(tmp_path)
    station = MemoryStation()
    async with serving(
        station, tls=server_context(certificate_file, key_file), connections_max=1
    ) as server:
        stranger = RawClient(*await asyncio.open_connection("127.0.0.1", server.tls_port))
        stranger.send(connect_bytes())
        await stranger.read_to_end()
        await stranger.close()
        trusting = ssl.create_default_context(cafile=str(certificate_file))
        client = RawClient(
            *await asyncio.open_connection("127.0.0.1", server.tls_port, ssl=trusting)
        )
        client.send(connect_bytes(), publish_bytes("x/readings", b"x" * 300_000, packet_id=1))
        assert await client.read() == Received(CONNACK, b"\0\0")
        assert await client.read_pubacks(1) == [1]
        client.send(DISCONNECT)
        await client.read_to_end()
        await client.close()
        assert len(station.taken) == 1


async def test_mosquitto_publishes_with_tls(tmp_path: Path) -> None:
    certificate_file, key_file = make_certificate(tmp_path)
    station = MemoryStation()
    async with serving(station, tls=server_context(certificate_file, key_file)) as server:
        process = await asyncio.create_subprocess_exec(
            *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(server.tls_port)),
            *("--cafile", str(certificate_file), "-u", "ann", "-P", "secret"),
            *("-t", "x/readings", "-m", "21.5", "-q", "1"),
        )
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert station.taken == [("x/readings", b"21.5")]


async def test_a_port_that_is_taken_is_an_error_at_start() -> None:
    async with serving(MemoryStation()) as server:
        options = MqttServerOptions(port=server.port)
        second = MqttServer(options, MemoryStation(), SystemClock())
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            await second.start()


async def test_a_start_that_fails_leaves_no_port_open(tmp_path: Path) -> None:
    context = server_context(*make_certificate(tmp_path))
    async with serving(MemoryStation()) as server:
        options = MqttServerOptions(port=0, tls_port=server.port)
        second = MqttServer(options, MemoryStation(), SystemClock(), tls=context)
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            await second.start()
        assert not second.is_open


async def test_the_server_listens_on_every_address_of_its_host() -> None:
    station = MemoryStation()
    async with serving(station, host="localhost") as server:
        reader, writer = await asyncio.open_connection("localhost", server.port)
        client = RawClient(reader, writer)
        client.send(connect_bytes())
        assert await client.read() == Received(CONNACK, b"\0\0")
        await client.close()


async def test_a_client_on_an_attached_transport_is_served_like_any_other() -> None:
    station = MemoryStation()
    async with serving(station, connections_max=1) as server:
        transport = MemoryTransport()
        connection = server.attach(transport)
        connection.data_received(connect_bytes())
        await wait_until(lambda: transport.written == ACCEPTED)
        assert station.credentials[0].peer == ""
        for byte in publish_bytes("x/readings", packet_id=1):
            connection.data_received(bytes((byte,)))
        await wait_until(lambda: transport.written == ACCEPTED + b"\x40\x02\x00\x01")
        with pytest.raises(Busy):
            server.attach(MemoryTransport())
        connection.data_received(DISCONNECT)
        await wait_until(lambda: transport.closed)
        connection.data_received(PINGREQ)
        connection.connection_lost(None)
        assert server.counters.connections == 0
        server.attach(MemoryTransport()).connection_lost(None)


async def test_one_settlement_is_one_write() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server:
        transport = MemoryTransport()
        connection = server.attach(transport)
        connection.data_received(connect_bytes())
        await wait_until(lambda: transport.written == ACCEPTED)
        frames = [publish_bytes("x/readings", packet_id=n) for n in range(1, 101)]
        connection.data_received(b"".join(frames))
        await wait_until(lambda: station.unsettled == 100)
        station.commit()
        await wait_until(lambda: len(transport.written) == 4 + 400)
        assert len(transport.writes) == 2
        connection.connection_lost(None)


async def test_who_does_not_read_its_answers_is_not_read_either() -> None:
    station = MemoryStation()
    async with serving(station, reply_bytes_max=1_000, receive_bytes_max=1_000) as server:
        transport = MemoryTransport()
        connection = server.attach(transport)
        connection.data_received(connect_bytes())
        await wait_until(lambda: transport.written == ACCEPTED)
        transport.stuck_bytes = 1_001
        connection.pause_writing()
        connection.data_received(PINGREQ)
        await wait_until(lambda: not transport.reading)
        assert transport.written == ACCEPTED
        transport.stuck_bytes = 0
        connection.resume_writing()
        await wait_until(lambda: transport.written == ACCEPTED + PINGRESP)
        assert transport.reading
        transport.stuck_bytes = 1_001
        connection.pause_writing()
        connection.data_received(PINGREQ)
        await wait_until(lambda: not transport.reading)
        connection.connection_lost(ConnectionResetError())
        assert server.counters.connections == 0


async def test_a_peer_that_does_not_take_our_last_bytes_is_aborted() -> None:
    clock = ManualClock(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    async with serving(MemoryStation(), clock=clock) as server:
        transport = MemoryTransport()
        connection = server.attach(transport)
        connection.data_received(connect_bytes(username="ann", password="wrong"))
        await wait_until(lambda: transport.closed)
        assert transport.written == bytes((CONNACK, 2, 0, ConnectCode.BAD_CREDENTIALS))
        assert not transport.aborted
        clock.advance(6)
        await wait_until(lambda: transport.aborted)
        connection.connection_lost(None)


async def test_revoking_closes_every_connection_of_the_subject_within_a_second() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected(server, "other", username="bob") as other,
    ):
        async with connected(server, "c1") as first, connected(server, "c2") as second:
            started_s = asyncio.get_running_loop().time()
            assert server.revoke("key-of-ann") == 2
            assert await first.read_to_end() == b""
            assert await second.read_to_end() == b""
            assert asyncio.get_running_loop().time() - started_s < 1.0
            assert server.revoke("key-of-ann") == 0
        await other.ping()
        assert server.counters.revoked == 2


async def test_a_key_revoked_while_it_is_checked_does_not_get_in() -> None:
    station = MemoryStation()
    station.doors_open.clear()
    async with serving(station) as server, raw_client(server) as client:
        client.send(connect_bytes())
        await wait_until(lambda: len(station.credentials) == 1)
        assert server.revoke("key-of-ann") == 0
        station.doors_open.set()
        assert await client.read_to_end() == bytes((CONNACK, 2, 0, ConnectCode.NOT_AUTHORIZED))


async def test_draining_settles_what_was_taken_and_publishes_no_will() -> None:
    station = MemoryStation(commits_itself=False)
    will = Publish("gone", b"1")
    async with serving(station) as server, connected(server, will=will) as client:
        client.send(*(publish_bytes("x/readings", packet_id=n) for n in (1, 2, 3)))
        await wait_until(lambda: station.unsettled == 3)
        port = server.port
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.drain(), name="drain")
            await wait_until(lambda: not server.is_open)
            client.send(publish_bytes("x/readings", packet_id=4))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(Busy):
                server.attach(MemoryTransport())
            station.commit()
        assert await client.read_pubacks(3) == [1, 2, 3]
        assert await client.read_to_end() == b""
        assert station.passed == []
        assert len(station.taken) == 3


async def test_draining_gives_up_in_time_and_acknowledges_nothing_unsettled() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station, drain_timeout_s=0.05) as server, connected(server) as client:
        client.send(publish_bytes("x/readings", packet_id=1))
        await wait_until(lambda: station.unsettled == 1)
        await asyncio.wait_for(server.drain(), 5)
        assert await client.read_to_end() == b""


async def test_running_can_be_cancelled() -> None:
    station = MemoryStation()
    server = MqttServer(MqttServerOptions(port=0), station, SystemClock())
    await server.start()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run(), name="mqtt-server")
        async with connected(server) as client:
            await client.ping()
            running.cancel()
            await wait_until(running.done)
            await server.stop()
            assert await client.read_to_end() == b""


async def test_silent_clients_of_the_tls_port_keep_nobody_else_out(tmp_path: Path) -> None:
    certificate_file, key_file = make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate_file))
    trusting.check_hostname = False
    async with serving(
        MemoryStation(),
        tls=server_context(certificate_file, key_file),
        handshakes_per_address_max=2,
        handshake_wait_s=0.2,
    ) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.tls_port) for _ in range(4)]
        refused = RawClient(*silent[-1])
        assert await refused.read_to_end() == b""
        client = RawClient(
            *await asyncio.open_connection(
                "127.0.0.1", server.tls_port, ssl=trusting, local_addr=("127.0.0.2", 0)
            )
        )
        client.send(connect_bytes())
        assert await client.read() == Received(CONNACK, b"\0\0")
        for each in (client, *(RawClient(*pair) for pair in silent)):
            await each.close()
