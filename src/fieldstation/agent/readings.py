"""What a measured value looks like on its way to the station."""

import json
from collections.abc import Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """One value of one series; ``timestamp`` is the device's own, RFC 3339 to the microsecond."""

    sensor_type: str
    value: float
    unit: str
    sensor_id: str
    timestamp: str


def encode_readings(readings: Sequence[Reading]) -> bytes:
    """Encode as JSON objects joined by commas, so that samples concatenate without decoding."""
    return b",".join(
        json.dumps(reading._asdict(), separators=(",", ":"), allow_nan=False).encode()
        for reading in readings
    )


def readings_message(encoded: Sequence[bytes]) -> bytes:
    """Wrap encoded samples into the body that ``devices/{id}/readings`` takes."""
    return b'{"readings":[' + b",".join(encoded) + b"]}"
