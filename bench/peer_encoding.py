"""Readings as the time series databases take them: line protocol, and VictoriaMetrics' JSON lines.

Both name a series by measurement and device; timestamps are milliseconds, as in the station's JSON.
"""

from collections import defaultdict
from collections.abc import Sequence

from bench.data import SENSORS, Reading
from bench.store_peers import IMPORT_PATH, WRITE_PATH


def device_name(device: int) -> str:
    return f"device{device:04}"


def line_protocol(device: int, readings: Sequence[Reading], *, base_s: int) -> bytes:
    """Return one line a reading."""
    name = device_name(device)
    return "\n".join(
        f"{SENSORS[reading.sensor].sensor_type},device={name} value={reading.value}"
        f" {(base_s + reading.second) * 1_000}"
        for reading in readings
    ).encode()


def import_lines(device: int, readings: Sequence[Reading], *, base_s: int) -> bytes:
    """Return one line a series, with its values and timestamps in sending order."""
    by_sensor: defaultdict[int, list[Reading]] = defaultdict(list)
    for reading in readings:
        by_sensor[reading.sensor].append(reading)
    return "\n".join(
        import_line(
            SENSORS[sensor].sensor_type,
            device_name(device),
            [reading.value for reading in own],
            [(base_s + reading.second) * 1_000 for reading in own],
        )
        for sensor, own in by_sensor.items()
    ).encode()


def import_line(
    sensor_type: str, device: str, values: Sequence[float], timestamps_ms: Sequence[int]
) -> str:
    return (
        f'{{"metric":{{"__name__":"{sensor_type}","device":"{device}"}},'
        f'"values":[{",".join(map(str, values))}],'
        f'"timestamps":[{",".join(map(str, timestamps_ms))}]}}'
    )


def post_lines(body: bytes) -> bytes:
    """Return the whole request that gives InfluxDB line protocol."""
    return post(WRITE_PATH, body)


def post_import(body: bytes) -> bytes:
    return post(IMPORT_PATH, body)


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
