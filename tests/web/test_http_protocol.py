"""What the server itself refuses is answered as the front door answers."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from uuid import UUID

import httpx2
import pytest

from tests.clients import StationClient
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

CONNECTIONS_MAX = 4


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    """A station with room for hardly anybody, which says what it does."""
    environment = {
        "HTTP_CONNECTIONS_MAX": str(CONNECTIONS_MAX),
        "CORS_ORIGINS": "https://console.example.org",
        "LOG_LEVEL": "DEBUG",
    }
    with running_station(
        tmp_path_factory.mktemp("small") / "data", environment=environment, measured=True
    ) as station:
        yield station


def connection(station: StationProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", station.port), timeout=10)


def answer_to(station: StationProcess, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and read until the station closes."""
    with connection(station) as raw:
        raw.sendall(sent)
        found = b""
        while part := raw.recv(65536):
            found += part
    head, _, body = found.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def test_one_connection_too_many_is_503_in_every_way_an_answer_of_ours(
    small: StationProcess,
) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX - 1):
            stack.enter_context(connection(small))
        headers = {"Origin": "https://console.example.org"}

        def refused() -> bool:
            return httpx2.get(f"{small.url}/health").status_code == 503

        wait_until_blocking(refused)
        answer = httpx2.get(f"{small.url}/health", headers=headers)
        body = answer.json()
    assert (answer.status_code, body["error"]) == (503, "too_many_connections")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == str(body["retry_after"])
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["access-control-allow-origin"] == "https://console.example.org"
    assert body["request_id"] == answer.headers["x-request-id"]
    wait_until_blocking(lambda: httpx2.get(f"{small.url}/health").status_code == 200)


GARBAGE = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no method": b"NOTHING / HTTP/1.1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "length and chunks": (
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"
    ),
    "header": b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    "chunk": (
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    ),
    "twice": b"\x00\r\n\r\n" * 1000,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_http_is_400_in_every_way_an_answer_of_ours(
    small: StationProcess, name: str
) -> None:
    status, headers, body = answer_to(small, GARBAGE[name])
    problem = json.loads(body)
    assert (status, problem["status"], problem["error"]) == (400, 400, "malformed")
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    assert UUID(headers["x-request-id"]) == UUID(problem["request_id"])


NOT_FOR_THE_BODY = {
    "TRACE /api/v1/devices": 405,
    "QUERY /api/v1/devices": 405,
    "PUT /health": 405,
    "DELETE /api/v1/auth/login": 405,
    "POST /api/v1/nothing": 404,
    "GET /api/v1/devices": 401,
    "POST /api/v1/devices": 400,
    "PUT /api/v1/devices/x": 400,
    "POST /api/v1/devices/x/readings": 401,
}


@pytest.mark.parametrize("request_line", NOT_FOR_THE_BODY)
@pytest.mark.parametrize("later", [False, True])
def test_a_body_that_is_no_http_matters_only_to_a_route_that_reads_it(
    small: StationProcess, request_line: str, later: bool
) -> None:
    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with connection(small) as raw:
        raw.sendall(head + b"1\r\n{\r\n" + (b"" if later else b"zz\r\n"))
        if later:
            with suppress(OSError):  # whoever needs no body may have answered and closed
                raw.sendall(b"zz\r\n")
        raw.settimeout(10)
        found = b""
        with suppress(ConnectionResetError):
            while part := raw.recv(65536):
                found += part
    assert found.startswith(b"HTTP/1.1 %d " % NOT_FOR_THE_BODY[request_line]), found
    assert b"\r\nconnection: close\r\n" in found.lower() or later


KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
NO_HANDSHAKE = {
    "no key": (b"GET /ws", VERSION),
    "short key": (b"GET /ws", b"Sec-WebSocket-Key: c2hvcnQ=\r\n" + VERSION),
    "no version": (b"GET /ws", KEY),
    "old version": (b"GET /ws", KEY + b"Sec-WebSocket-Version: 8\r\n"),
    "two protocols": (b"GET /ws", KEY + VERSION + b"Upgrade: websocket\r\n"),
    "another method": (b"POST /api/v1/auth/login", KEY + VERSION),
    "long query": (b"GET /ws?ticket=" + b"x" * 9_000, KEY + VERSION),
    "long header": (b"GET /mqtt", KEY + VERSION + b"Cookie: " + b"x" * 9_000 + b"\r\n"),
    "many headers": (b"GET /ws", KEY + VERSION + b"A: b\r\n" * 130),
}


@pytest.mark.parametrize("name", NO_HANDSHAKE)
@pytest.mark.parametrize("behind", [b"", b"\x81\x85and more"])
def test_what_is_no_websocket_handshake_is_400_in_every_way_an_answer_of_ours(
    small: StationProcess, name: str, behind: bytes
) -> None:
    line, headers = NO_HANDSHAKE[name]
    upgrade = b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    sent = line + b" HTTP/1.1\r\n" + upgrade + headers + b"\r\n" + behind
    status, answered, body = answer_to(small, sent)
    problem = json.loads(body)
    assert (status, problem["status"], problem["error"]) == (400, 400, "malformed")
    assert problem["detail"].startswith("This is no WebSocket handshake: ")
    assert problem["instance"] == line.split()[1].split(b"?")[0].decode()
    assert answered["content-type"] == "application/problem+json"
    assert answered["connection"] == "close"
    assert answered["x-content-type-options"] == "nosniff"
    assert UUID(answered["x-request-id"]) == UUID(problem["request_id"])


def test_a_good_request_before_the_garbage_is_answered(small: StationProcess) -> None:
    with connection(small) as raw:
        raw.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while not found.endswith(b'"alive"}'):
            found += raw.recv(65536)
        raw.sendall(b"\x00\r\n\r\n")
        assert raw.recv(12) == b"HTTP/1.1 400"
    assert found.startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_is_not_counted_as_a_defect(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        client.sign_up()

        def counted(status: int) -> list[str]:
            lines = client.http.get("/metrics").text.splitlines()
            return [line for line in lines if f'status="{status}"' in line and "login" in line]

        with connection(own_station) as raw:
            raw.sendall(
                b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            )
        wait_until_blocking(lambda: counted(499) != [])
        assert counted(500) == []
