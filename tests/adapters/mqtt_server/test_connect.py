"""CONNECT: who gets in, who is refused how, and who takes over from whom."""

import asyncio
import encodings.idna  # noqa: F401 - to connect needs it, and then no file can be opened
import resource
import socket
from datetime import UTC, datetime

import pytest

from fieldstation.adapters.mqtt_server.packets import ConnectCode, Publish
from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import (
    Busy,
    Forbidden,
    QuotaExceeded,
    StationError,
    TooManyRequests,
    Unauthenticated,
)
from tests.adapters.mqtt_server.raw_client import (
    CONNACK,
    DISCONNECT,
    RawClient,
    Received,
    connect_bytes,
    connected,
    packet,
    publish_bytes,
    raw_client,
    text,
)
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


def connack(code: ConnectCode) -> bytes:
    return bytes((CONNACK, 2, 0, code))


async def test_a_client_with_a_valid_credential_gets_in_and_is_seen() -> None:
    station = MemoryStation()
    async with (
        serving(station) as server,
        connected(server, "probe", username="device:d1") as client,
    ):
        await client.ping()
        assert station.credentials[0].client_id == "probe"
        assert station.credentials[0].username == "device:d1"
        assert station.credentials[0].peer == "127.0.0.1"
        assert station.seen_names["d1"] >= 2
        assert server.counters.connections == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unauthenticated("no"), ConnectCode.BAD_CREDENTIALS),
        (Forbidden("no"), ConnectCode.NOT_AUTHORIZED),
        (QuotaExceeded("no"), ConnectCode.UNAVAILABLE),
        (Busy("no"), ConnectCode.UNAVAILABLE),
        (TooManyRequests("no", retry_after_s=1), ConnectCode.UNAVAILABLE),
    ],
)
async def test_a_refusal_says_which_kind_it_is(error: StationError, code: ConnectCode) -> None:
    station = MemoryStation()
    station.refuse("ann", error)
    async with serving(station) as server, raw_client(server) as client:
        client.send(connect_bytes())
        assert await client.read_to_end() == connack(code)
        assert server.counters.connections_refused == 1


async def test_a_defect_in_authentication_refuses_one_client_and_no_other() -> None:
    station = MemoryStation()
    station.refuse("eve", RuntimeError("a defect"))
    async with serving(station, authentications_max=1) as server:
        async with raw_client(server) as client:
            client.send(connect_bytes(username="eve"))
            assert await client.read_to_end() == connack(ConnectCode.UNAVAILABLE)
        async with connected(server) as client:
            await client.ping()


async def test_an_authentication_that_never_ends_is_given_up() -> None:
    station = MemoryStation()
    station.doors_open.clear()
    async with (
        serving(station, connect_timeout_s=0.1, sweep_interval_ms=10_000) as server,
        raw_client(server) as client,
    ):
        client.send(connect_bytes())
        assert await client.read_to_end() == connack(ConnectCode.UNAVAILABLE)


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (connect_bytes()[:8] + b"\x03" + connect_bytes()[9:], connack(ConnectCode.BAD_PROTOCOL)),
        (connect_bytes("", clean=False), connack(ConnectCode.BAD_CLIENT_ID)),
        (connect_bytes("x" * 300), connack(ConnectCode.BAD_CLIENT_ID)),
        (publish_bytes("a"), b""),
        (b"GET / HTTP/1.1\r\nHost: station\r\n\r\n", b""),
        (packet(0x10, text("MQTT") + b"\x04"), b""),
    ],
    ids=["version 3", "no id, not clean", "long id", "not CONNECT", "HTTP", "cut short"],
)
async def test_what_is_no_good_connect_is_answered_and_closed(frame: bytes, answer: bytes) -> None:
    async with serving(MemoryStation()) as server, raw_client(server) as client:
        client.send(frame)
        assert await client.read_to_end() == answer
        await wait_until(lambda: server.counters.connections == 0)


async def test_a_second_connect_closes_the_connection() -> None:
    async with serving(MemoryStation()) as server, connected(server) as client:
        client.send(connect_bytes())
        assert await client.read_to_end() == b""
        assert server.counters.protocol_errors == 1


async def test_a_client_without_an_id_gets_one_of_its_own() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected(server, "") as first,
        connected(server, "") as second,
    ):
        await first.ping()
        await second.ping()
        assert server.counters.takeovers == 0


async def test_who_does_not_connect_in_time_is_closed() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    station = MemoryStation()
    station.doors_open.clear()
    async with serving(station, clock=clock) as server:
        async with raw_client(server) as silent, raw_client(server) as unfinished:
            unfinished.send(connect_bytes())
            await wait_until(lambda: server.counters.connections == 2 and bool(station.credentials))
            clock.advance(10.5)
            assert await silent.read_to_end() == b""
            assert await unfinished.read_to_end() == b""
            assert server.counters.timeouts == 2
        station.doors_open.set()
        async with connected(server) as client:
            await client.ping()


async def test_the_same_client_id_takes_over_and_the_old_connection_is_closed() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected(server, "c1") as old,
        connected(server, "c1") as new,
    ):
        assert await old.read_to_end() == b""
        await new.ping()
        assert server.counters.takeovers == 1


async def test_the_same_client_id_in_another_organization_is_another_client() -> None:
    async with (
        serving(MemoryStation()) as server,
        connected(server, "c1", username="ann@org-a") as a,
        connected(server, "c1", username="bob@org-b") as b,
    ):
        await a.ping()
        await b.ping()
        assert server.counters.takeovers == 0


async def test_what_follows_connect_at_once_waits_for_authentication() -> None:
    station = MemoryStation()
    station.doors_open.clear()
    async with serving(station, receive_bytes_max=1_000) as server, raw_client(server) as client:
        frames = [publish_bytes("x/readings", b"y" * 100, packet_id=n) for n in range(1, 201)]
        client.send(connect_bytes(), *frames)
        await wait_until(lambda: len(station.credentials) == 1)
        assert station.taken == []
        station.doors_open.set()
        assert (await client.read()).first == CONNACK
        assert await client.read_pubacks(200) == list(range(1, 201))


async def test_a_client_that_sends_everything_at_once_and_leaves_is_heard_and_leaves_no_will() -> (
    None
):
    station = MemoryStation()
    station.doors_open.clear()
    will = Publish("gone", b"1")
    async with serving(station) as server:
        async with raw_client(server) as client:
            client.send(connect_bytes(will=will), publish_bytes("x/readings", b"7"), DISCONNECT)
        await wait_until(lambda: len(station.credentials) == 1)
        station.doors_open.set()
        await wait_until(lambda: station.taken == [("x/readings", b"7")])
        await wait_until(lambda: server.counters.connections == 0)
        assert station.passed == []


async def test_a_client_gone_before_its_answer_costs_nothing() -> None:
    station = MemoryStation()
    station.doors_open.clear()
    async with serving(station) as server:
        async with raw_client(server) as client:
            client.send(connect_bytes())
            await wait_until(lambda: len(station.credentials) == 1)
        await wait_until(lambda: server.counters.connections == 0)
        station.doors_open.set()
        async with connected(server) as client:
            await client.ping()


async def test_authentications_run_a_few_at_a_time_and_all_get_in() -> None:
    station = MemoryStation()
    station.doors_open.clear()
    async with serving(station, authentications_max=2) as server:
        clients = []
        for number in range(6):
            context = raw_client(server)
            client = await context.__aenter__()
            clients.append((context, client))
            client.send(connect_bytes(f"c{number}"))
        await wait_until(lambda: server.counters.connections == 6)
        await wait_until(lambda: len(station.credentials) == 2)
        station.doors_open.set()
        for context, client in clients:
            assert await client.read() == Received(CONNACK, b"\0\0")
            await context.__aexit__(None, None, None)
        assert len(station.credentials) == 6


async def test_an_organization_with_too_many_connections_is_refused_and_no_other() -> None:
    async with (
        serving(MemoryStation(), organization_connections_max=1) as server,
        connected(server, "c1"),
        raw_client(server) as refused,
        connected(server, "c2", username="bob@org-b") as other,
    ):
        refused.send(connect_bytes("c2"))
        assert await refused.read_to_end() == connack(ConnectCode.UNAVAILABLE)
        await other.ping()
        async with connected(server, "c1") as successor:
            await successor.ping()


async def test_a_defect_while_letting_a_client_in_refuses_it_and_no_other() -> None:
    station = MemoryStation()
    station.broken_topics.add("broken")
    async with serving(station, authentications_max=1) as server:
        async with raw_client(server) as client:
            client.send(connect_bytes(will=Publish("broken", b"")))
            assert await client.read_to_end() == connack(ConnectCode.UNAVAILABLE)
        async with connected(server) as client:
            await client.ping()


async def test_out_of_file_descriptors_the_server_waits_and_accepts_later() -> None:
    async with serving(MemoryStation(), accept_backoff_ms=10) as server:
        loop = asyncio.get_running_loop()
        waiting = socket.socket()
        waiting.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.fileno() + 1, hard))
        try:
            await loop.sock_connect(waiting, ("127.0.0.1", server.port))
            await wait_until(lambda: server.counters.accepts_failed > 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await loop.sock_sendall(waiting, connect_bytes())
        assert await loop.sock_recv(waiting, 10) == connack(ConnectCode.ACCEPTED)
        waiting.close()


async def test_beyond_the_limit_clients_wait_until_somebody_leaves() -> None:
    async with serving(MemoryStation(), connections_max=2) as server, connected(server, "c1"):
        async with connected(server, "c2") as leaving:
            waiting = RawClient(*await asyncio.open_connection("127.0.0.1", server.port))
            waiting.send(connect_bytes("c3"))
            await leaving.ping()
            assert server.counters.connections_accepted == 2
        assert await waiting.read() == Received(CONNACK, b"\0\0")
        assert server.counters.connections == 2
        await waiting.close()
