"""Readings as what travels: JSON bodies, HTTP/1.1 requests, MQTT 3.1.1 packets, database rows."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.data import SENSORS, Reading

PUBLISH_QOS_1 = 0x32
CONNECT = 0x10
CLEAN_SESSION_USER_PASSWORD = 0xC2
KEEP_ALIVE_S = 600
PACKET_ID_MAX = 65_535
US_PER_MINUTE = 60_000_000
LABELS = tuple(
    f'{{"sensor_type":"{sensor.sensor_type}","unit":"{sensor.unit}",' for sensor in SENSORS
)


class Identity(NamedTuple):
    """A device as the station knows it."""

    device_id: str
    api_key: str


def reading_json(reading: Reading, *, base_s: int) -> str:
    """Return one reading as JSON; its timestamp is a number of milliseconds since the epoch."""
    timestamp_ms = (base_s + reading.second) * 1_000
    return f'{LABELS[reading.sensor]}"value":{reading.value},"timestamp":{timestamp_ms}}}'


def body_json(readings: Sequence[Reading], *, base_s: int) -> bytes:
    """Return a request body: a single reading bare, several wrapped."""
    if len(readings) == 1:
        return reading_json(readings[0], base_s=base_s).encode()
    items = ",".join([reading_json(reading, base_s=base_s) for reading in readings])
    return f'{{"readings":[{items}]}}'.encode()


def post_readings(identity: Identity, body: bytes) -> bytes:
    """Return the whole HTTP request that delivers a body for a device."""
    head = (
        f"POST /api/v1/devices/{identity.device_id}/readings HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        f"Authorization: Bearer {identity.api_key}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get_request(path: str, *, token: str | None = None) -> bytes:
    bearer = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}\r\n".encode()


def connect_packet(identity: Identity) -> bytes:
    """Return CONNECT for a clean session; the client id is the device id."""
    content = (
        mqtt_text("MQTT")
        + bytes([4, CLEAN_SESSION_USER_PASSWORD])
        + KEEP_ALIVE_S.to_bytes(2)
        + mqtt_text(identity.device_id)
        + mqtt_text(identity.device_id)
        + mqtt_text(identity.api_key)
    )
    return bytes([CONNECT]) + remaining_length(len(content)) + content


def publish_packet(identity: Identity, body: bytes, *, number: int) -> bytes:
    """Return PUBLISH with QoS 1; packet ids follow ``number`` (from 0) through 1 … 65,535."""
    packet_id = number % PACKET_ID_MAX + 1
    content = mqtt_text(f"devices/{identity.device_id}/readings") + packet_id.to_bytes(2) + body
    return bytes([PUBLISH_QOS_1]) + remaining_length(len(content)) + content


def mqtt_text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2) + encoded


def remaining_length(length: int) -> bytes:
    """Encode a length as MQTT does: seven bits a byte, least significant first."""
    encoded = bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(encoded)


def table_rows(
    device: int, readings: Sequence[Reading], *, base_s: int
) -> list[tuple[int, int, int, float, int]]:
    """Return rows ``(minute, series_id, ts, value, flags)``, as the station's table has them."""
    first_series = device * len(SENSORS) + 1
    rows = []
    for sensor, second, value, _ in readings:
        ts_us = (base_s + second) * 1_000_000
        rows.append((ts_us // US_PER_MINUTE, first_series + sensor, ts_us, value, 0))
    return rows
