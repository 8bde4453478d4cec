"""What the load generators send is what the station's contract describes."""

import json

import pytest

from bench.data import Reading
from bench.encoding import (
    Identity,
    body_json,
    connect_packet,
    post_readings,
    publish_packet,
    remaining_length,
    table_rows,
)

DEVICE = Identity(device_id="0190c0de", api_key="fsd_key")
READING = Reading(sensor=0, second=61, value=21.4, repeated=False)
BASE_S = 1_790_000_000


def test_a_single_reading_is_sent_bare_and_several_are_wrapped() -> None:
    expected = {
        "sensor_type": "temperature",
        "unit": "C",
        "value": 21.4,
        "timestamp": (BASE_S + 61) * 1_000,
    }

    assert json.loads(body_json([READING], base_s=BASE_S)) == expected
    assert json.loads(body_json([READING] * 2, base_s=BASE_S)) == {"readings": [expected] * 2}


def test_a_request_announces_its_length_and_carries_the_key() -> None:
    head, _, body = post_readings(DEVICE, b'{"value":1}').partition(b"\r\n\r\n")

    assert head.startswith(b"POST /api/v1/devices/0190c0de/readings HTTP/1.1\r\n")
    assert b"Authorization: Bearer fsd_key" in head
    assert b"Content-Length: 11" in head
    assert body == b'{"value":1}'


def test_publish_has_qos_1_its_topic_and_a_packet_id_from_1() -> None:
    packet = publish_packet(DEVICE, b"21.4", number=0)

    assert packet == b"\x32\x21" + b"\x00\x19devices/0190c0de/readings" + b"\x00\x01" + b"21.4"


def test_packet_ids_wrap_without_using_zero() -> None:
    ids = [publish_packet(DEVICE, b"", number=number)[-2:] for number in (65_534, 65_535)]

    assert ids == [b"\xff\xff", b"\x00\x01"]


def test_connect_names_the_device_as_user_with_its_key_as_password() -> None:
    packet = connect_packet(DEVICE)

    assert packet[0] == 0x10
    assert packet[1] == len(packet) - 2
    assert packet[2:9] == b"\x00\x04MQTT\x04"
    assert packet.endswith(b"\x00\x080190c0de\x00\x080190c0de\x00\x07fsd_key")


@pytest.mark.parametrize(
    ("length", "encoded"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16_383, b"\xff\x7f")],
)
def test_lengths_are_encoded_as_the_mqtt_standard_says(length: int, encoded: bytes) -> None:
    assert remaining_length(length) == encoded


def test_rows_carry_minute_series_and_microseconds() -> None:
    ts_us = (BASE_S + 61) * 1_000_000

    assert table_rows(2, [READING], base_s=BASE_S) == [(ts_us // 60_000_000, 21, ts_us, 21.4, 0)]
