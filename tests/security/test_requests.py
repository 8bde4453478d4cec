"""Bodies, methods and paths within bounds: the same for pydantic routes and hot ones."""

import gzip
import socket
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import cbor2
import httpx2
import msgspec
import psutil
import pytest

from fieldstation.core.limits import (
    BODY_BYTES_MAX,
    FORM_BYTES_MAX,
    INFLATED_BYTES_MAX,
    JSON_CONTAINERS_MAX,
    JSON_DEPTH_MAX,
    ROUTE_BODY_BYTES_MAX,
    ROUTE_BODY_VALUES_MAX,
)
from tests.clients import StationClient, expect
from tests.station_process import StationProcess

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MORE_THAN_ANY_DECODER_BEARS = 150_000
ENCODE: dict[str, Callable[[object], bytes]] = {
    "application/json": msgspec.json.encode,
    "application/cbor": cbor2.dumps,
    "application/msgpack": msgspec.msgpack.encode,
}


def nested(levels: int) -> bytes:
    return b'{"name":"x","properties":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


@pytest.mark.parametrize("levels", [JSON_DEPTH_MAX, MORE_THAN_ANY_DECODER_BEARS])
@pytest.mark.parametrize("path", ["/api/v1/devices", "/api/v1/organizations"])
def test_a_body_that_nests_too_deep_is_refused(
    client: StationClient, path: str, levels: int
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.http.post(path, content=nested(levels), headers=headers)
    assert expect(answer, 413)["error"] == "too_deep"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"a":' * MORE_THAN_ANY_DECODER_BEARS),
        ("application/msgpack", b"\x91" * MORE_THAN_ANY_DECODER_BEARS),
        ("application/cbor", b"\x81" * (JSON_DEPTH_MAX + 1) + b"\x00"),
    ],
)
def test_readings_that_nest_deeper_than_a_decoder_bears_are_413(
    client: StationClient, content_type: str, body: bytes
) -> None:
    device = client.register_device()
    headers = {**device.headers, "Content-Type": content_type}
    answer = client.http.post(device.readings_path, content=body, headers=headers)
    assert expect(answer, 413)["error"] == "too_deep"
    assert client.get(device.readings_path)["items"] == []


@pytest.mark.parametrize("content_type", ENCODE)
def test_a_body_with_a_reading_whose_metadata_nests_too_deep_is_413(
    client: StationClient, content_type: str
) -> None:
    device = client.register_device()
    metadata: object = 1
    for _ in range(JSON_DEPTH_MAX - 2):
        metadata = {"a": metadata}
    taken = [{"sensor_type": "t", "value": 1, "metadata": metadata}]
    refused = [{**taken[0], "metadata": {"a": metadata}}, {"sensor_type": "t", "value": 2}]
    headers = {**device.headers, "Content-Type": content_type}
    for readings, status in ((refused, 413), (taken, 201)):
        body = ENCODE[content_type](readings)
        answer = client.http.post(device.readings_path, content=body, headers=headers)
        assert answer.status_code == status
        assert answer.json().get("error") == (None if status == 201 else "too_deep")
    assert [reading["value"] for reading in client.get(device.readings_path)["items"]] == [1]


JSON_TYPES = [
    "application/json",
    "application/JSON; charset=UTF-8",
    "Application/Merge-Patch+JSON;x=1",
    None,
]
UNSTORABLE = {
    b'{"name":"x","properties":{"a":NaN}}': 400,
    b'{"name":"x","properties":{"a":1e999}}': 400,
    b'{"name":"x","properties":{"a":"\\u0000"}}': 400,
    b'{"name":"x","properties":{"\\ud800":1}}': 400,
    b'{"name":"\xff"}': 400,
    '{"name":"x"}'.encode("utf-16"): 400,
    nested(JSON_DEPTH_MAX): 413,
}


@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_what_no_database_holds_is_refused_however_json_is_called(
    client: StationClient, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    for body, status in UNSTORABLE.items():
        answer = client.http.post("/api/v1/devices", content=body, headers=headers)
        assert answer.status_code == status, body
    answer = client.http.post("/api/v1/devices", content=b'{"name":"fine"}', headers=headers)
    assert expect(answer, 201)["name"] == "fine"


OTHER_TYPES = ["application/x-www-form-urlencoded", "text/plain", "application/jsonx", "x", "*/*"]


@pytest.mark.parametrize("content_type", OTHER_TYPES)
def test_another_content_type_is_415_and_the_right_one_is_named(
    client: StationClient, content_type: str
) -> None:
    device = client.register_device()
    headers = {**device.headers, "Content-Type": content_type}
    body = b'{"sensor_type":"t","value":1}'
    for path in (device.readings_path, f"/api/v1/devices/{device.id}/heartbeat"):
        answer = client.http.post(path, content=body, headers=headers)
        assert expect(answer, 415)["error"] == "unsupported_media_type"
        assert "Content-Type: application/json" in answer.json()["detail"]
    assert client.get(device.readings_path)["items"] == []


def test_readings_are_json_where_nothing_is_said(client: StationClient) -> None:
    device = client.register_device()
    body = b'{"sensor_type":"t","value":1}'
    for said in ({}, {"Content-Type": "application/problem+json"}):
        headers = {**device.headers, **said}
        expect(client.http.post(device.readings_path, content=body, headers=headers), 201)


def test_a_form_is_read_as_a_form_alone(client: StationClient) -> None:
    form = {"grant_type": "password", "username": client.email, "password": "x"}
    answer = client.http.post("/token", json=form)
    assert expect(answer, 415)["detail"].endswith("x-www-form-urlencoded.")
    assert client.http.post("/token", data=form).status_code == 401


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_an_encoding_that_a_route_does_not_read_is_415(
    client: StationClient, encoding: str
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = client.http.post("/api/v1/devices", content=b'{"name":"x"}', headers=headers)
    assert expect(answer, 415)["error"] == "unsupported_media_type"


@pytest.mark.parametrize("path", ["/api/v1/devices", "/api/v1/auth/login", "/token"])
@pytest.mark.parametrize("token", [None, "fsd_" + "a" * 43])
def test_of_callers_nobody_knows_only_small_bodies_are_read(
    client: StationClient, path: str, token: str | None
) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=client.url, headers=headers) as nobody:
        large = b"[" + b"[]," * (1 << 20) + b"[]]"
        for content in (large, iter([large[: 1 << 16], large[1 << 16 :]])):
            answer = nobody.post(path, content=content)
            assert expect(answer, 401)["error"] == "unauthenticated"
        assert nobody.post(path, content=b" " * (1 << 16)).status_code < 500


def test_a_body_for_no_route_is_not_looked_at(client: StationClient) -> None:
    with httpx2.Client(base_url=client.url) as nobody:
        large = b"[" * (1 << 20)
        assert nobody.post("/api/v1/nothing", content=large).status_code == 404
        assert nobody.put("/api/v1/devices", content=large).status_code == 405


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'[{"value":1,"metadata":{"a":[' + b"[]," * 20_000_000 + b"1]}}]"),
        ("application/msgpack", b"\xdd\x03\x80\x00\x00" + b"\x90" * 0x3800000),
        ("application/cbor", b"\x9a\x03\x80\x00\x00" + b"\x80" * 0x3800000),
    ],
    ids=["json", "msgpack", "cbor"],
)
def test_a_small_body_cannot_ask_for_gigabytes(
    own_station: StationProcess, content_type: str, body: bytes
) -> None:
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        said = {"Content-Type": content_type, "Content-Encoding": "zstd"}
        headers = {**device.headers, **said}
        answer = client.http.post(
            device.readings_path, content=zstd.compress(body), headers=headers
        )
        assert expect(answer, 413)["error"] == "too_many_values"
        assert psutil.Process(own_station.process.pid).memory_info().rss < 500 << 20


def test_more_lists_than_a_request_ever_needs_are_413(client: StationClient) -> None:
    device = client.register_device()
    many = b"[" + b"[]," * JSON_CONTAINERS_MAX + b"[]]"
    for path, headers in (("/api/v1/devices", {}), (device.readings_path, device.headers)):
        answer = client.http.post(path, content=many, headers=headers)
        assert expect(answer, 413)["error"] == "too_many_values"


@pytest.mark.parametrize("path", ["/api/v1/devices", "/api/v1/organizations"])
def test_more_bytes_or_values_than_a_route_judges_in_a_moment_are_413(
    client: StationClient, path: str
) -> None:
    def error_of(body: bytes) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        answer = client.http.post(path, content=body, headers=headers)
        return answer.status_code, answer.json()["error"]

    start, end = b'{"name":"', b'"}'
    text = start + b"x" * (ROUTE_BODY_BYTES_MAX - len(start + end)) + end
    assert error_of(text) == (422, "validation_error")
    assert error_of(text + b" ") == (413, "too_large")
    keys = [b'"%d":0' % number for number in range(ROUTE_BODY_VALUES_MAX)]
    assert error_of(b"{%b}" % b",".join(keys)) == (422, "validation_error")
    assert error_of(b'{%b,"one more":0}' % b",".join(keys)) == (413, "too_many_values")
    listed = b'{"name":"x","properties":{"a":[%b]}}'
    assert error_of(listed % b",".join([b"0"] * ROUTE_BODY_VALUES_MAX)) == (413, "too_many_values")


def test_a_form_is_as_small_as_a_login(client: StationClient) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for size, status in ((FORM_BYTES_MAX, 422), (FORM_BYTES_MAX + 1, 413)):
        answer = client.http.post("/token", content=b"&" * size, headers=headers)
        assert answer.status_code == status, answer.text
    assert answer.json()["detail"] == "The body is larger than 64 KiB; send it in parts."


def test_commas_and_brackets_in_a_text_are_no_values(client: StationClient) -> None:
    headers = {"Content-Type": "application/json"}
    body = b'{"name":"x","description":"%b"}' % (b"[,{" * ROUTE_BODY_VALUES_MAX)
    answer = client.http.post("/api/v1/devices", content=body, headers=headers)
    assert expect(answer, 422)["errors"][0]["loc"] == ["body", "description"]


def test_a_body_as_deep_as_allowed_is_taken(client: StationClient) -> None:
    headers = {"Content-Type": "application/json"}
    deepest = nested(JSON_DEPTH_MAX - 1)
    for body in (deepest, deepest[:-1] + b',"tags":[]}'):  # from 33 lists and objects on, it counts
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
