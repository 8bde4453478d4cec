"""What the time series databases are sent is what the station is sent, in their own words."""

import json

import pytest

from bench.data import Reading
from bench.http_load import is_complete
from bench.peer_encoding import import_lines, line_protocol, post_import, post_lines
from bench.store_peers import influx_question

BASE_S = 1_790_000_000
READINGS = [
    Reading(sensor=0, second=61, value=21.4, repeated=False),
    Reading(sensor=1, second=61, value=48.125, repeated=False),
    Reading(sensor=0, second=62, value=21.5, repeated=False),
]


def test_a_line_has_measurement_device_value_and_milliseconds() -> None:
    assert line_protocol(7, READINGS, base_s=BASE_S).decode().splitlines() == [
        "temperature,device=device0007 value=21.4 1790000061000",
        "humidity,device=device0007 value=48.125 1790000061000",
        "temperature,device=device0007 value=21.5 1790000062000",
    ]


def test_an_import_line_holds_a_series_with_its_values_and_timestamps() -> None:
    lines = [json.loads(line) for line in import_lines(7, READINGS, base_s=BASE_S).splitlines()]

    assert lines == [
        {
            "metric": {"__name__": "temperature", "device": "device0007"},
            "values": [21.4, 21.5],
            "timestamps": [1_790_000_061_000, 1_790_000_062_000],
        },
        {
            "metric": {"__name__": "humidity", "device": "device0007"},
            "values": [48.125],
            "timestamps": [1_790_000_061_000],
        },
    ]


def test_requests_announce_their_length_and_their_precision() -> None:
    assert post_lines(b"a v=1 2").startswith(b"POST /write?db=bench&precision=ms HTTP/1.1\r\n")
    assert b"Content-Length: 7\r\n\r\na v=1 2" in post_lines(b"a v=1 2")
    assert post_import(b"{}").startswith(b"POST /api/v1/import HTTP/1.1\r\n")


def test_a_question_names_its_device_and_its_period() -> None:
    assert influx_question("last(value)", device="d") == (
        "SELECT last(value) FROM /.*/ WHERE device='d'"
    )
    assert influx_question("mean(value)", device="d", period_ms=(5, 9)) == (
        "SELECT mean(value) FROM /.*/ WHERE device='d' AND time>=5ms AND time<9ms"
    )


@pytest.mark.parametrize(
    ("answer", "is_whole"),
    [
        (b"HTTP/1.1 204 No Content\r\nX-Version: 1\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\nX-Version: 1\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
    ],
)
def test_an_answer_ends_as_its_head_says(answer: bytes, is_whole: bool) -> None:
    assert is_complete(answer) is is_whole
    assert is_complete(bytearray(answer)) is is_whole
