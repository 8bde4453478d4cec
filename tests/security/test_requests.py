"""Bodies, methods and paths within bounds: the same for pydantic routes and hot ones."""

import gzip
import socket
from urllib.parse import urlsplit

import pytest

from fieldstation.core.limits import BODY_BYTES_MAX, INFLATED_BYTES_MAX, JSON_DEPTH_MAX
from tests.clients import StationClient, expect

MORE_THAN_ANY_DECODER_BEARS = 200_000


def nested(levels: int) -> bytes:
    return b'{"name":"x","properties":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


@pytest.mark.parametrize("levels", [JSON_DEPTH_MAX, MORE_THAN_ANY_DECODER_BEARS])
@pytest.mark.parametrize("path", ["/api/v1/devices", "/api/v1/organizations"])
def test_a_body_that_nests_too_deep_is_refused(
    client: StationClient, path: str, levels: int
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.http.post(path, content=nested(levels), headers=headers)
    assert answer.status_code in {400, 413, 422}
    assert answer.json()["error"] in {"too_deep", "malformed", "validation_error"}


@pytest.mark.parametrize("levels", [JSON_DEPTH_MAX, MORE_THAN_ANY_DECODER_BEARS])
def test_readings_that_nest_too_deep_are_refused(client: StationClient, levels: int) -> None:
    device = client.register_device()
    deep = b'{"a":' * levels + b"1" + b"}" * levels
    body = b'{"sensor_type":"t","value":1,"metadata":' + deep + b"}"
    answer = client.http.post(device.readings_path, content=body, headers=device.headers)
    assert answer.status_code in {400, 413, 422}
    assert client.get(device.readings_path)["items"] == []


def test_a_body_as_deep_as_allowed_is_taken(client: StationClient) -> None:
    headers = {"Content-Type": "application/json"}
    body = nested(JSON_DEPTH_MAX - 1)
    expect(client.http.post("/api/v1/devices", content=body, headers=headers), 201)
    answer = client.http.post("/api/v1/devices", content=nested(JSON_DEPTH_MAX), headers=headers)
    assert expect(answer, 413)["error"] == "too_deep"


@pytest.mark.parametrize("length", ["9" * 18, "9" * 30, "9" * 5_000, str(BODY_BYTES_MAX + 1)])
def test_an_announced_length_beyond_all_bounds_is_refused(
    client: StationClient, length: str
) -> None:
    address = urlsplit(client.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as raw:
        head = f"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        raw.sendall(head.encode())
        status_line = raw.recv(100).split(b"\r\n")[0]
    assert status_line.split(b" ")[1] in {b"400", b"413"}


def test_a_body_that_nobody_announced_is_counted(client: StationClient) -> None:
    answer = client.http.post("/api/v1/devices", content=(b" " * (1 << 20) for _ in range(12)))
    assert expect(answer, 413)["error"] == "too_large"


def test_a_body_that_inflates_beyond_the_limit_is_refused(client: StationClient) -> None:
    device = client.register_device()
    bomb = gzip.compress(b" " * (INFLATED_BYTES_MAX + 1), 9)
    assert len(bomb) < 100_000
    headers = {**device.headers, "Content-Encoding": "gzip"}
    answer = client.http.post(device.readings_path, content=bomb, headers=headers)
    assert expect(answer, 413)["error"] == "too_large"


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/", "/api/v1/devices", "/v1/auth/me"]
)
def test_head_answers_as_get_does_without_the_body(client: StationClient, path: str) -> None:
    got, asked = client.http.get(path), client.http.head(path)
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert set(asked.headers) == set(got.headers)
    assert asked.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/devices/x", "DELETE, GET, HEAD, PATCH, PUT"),
        ("DELETE", "/api/v1/devices/x/readings", "GET, HEAD, POST"),
        ("GET", "/api/v1/auth/login", "POST"),
        ("HEAD", "/api/v1/auth/login", "POST"),
        ("PUT", "/health", "GET, HEAD"),
        ("PATCH", "/api/v1/users", "GET, HEAD, POST"),
    ],
)
def test_another_method_is_405_and_every_right_one_is_named(
    client: StationClient, method: str, path: str, allowed: str
) -> None:
    answer = client.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    if method != "HEAD":
        assert answer.json()["error"] == "method_not_allowed"
