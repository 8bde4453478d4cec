"""The described and the decoded form of the same body accept the same input."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from fieldstation.core.errors import Invalid
from fieldstation.domains.devices.heartbeats import decode_heartbeat
from fieldstation.domains.devices.schemas import HeartbeatBody, HeartbeatCreate
from fieldstation.domains.telemetry.payloads import (
    Incoming,
    check_labels,
    check_value,
    decode_readings,
)
from fieldstation.domains.telemetry.schemas import ReadingCreate, ReadingsCreate
from fieldstation.web.bodies import check_json

TEXTS = st.one_of(
    st.text(max_size=60).filter(lambda text: "\x00" not in text),
    st.sampled_from(["temperature", " Soil ", "", "°C", "x" * 51, "x" * 101, "tab\t", "ü" * 600]),
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, 21.5, -61, 100, 101, -200.5]),
)
VALUES = st.one_of(NUMBERS, st.booleans(), TEXTS, st.none(), st.just([]), st.just({"a": 1}))
METADATA = st.one_of(st.none(), st.just({}), st.just({"raw": 2150}), st.just(5), st.just("x"))


def objects(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Give objects that have any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


READINGS = st.one_of(
    objects(
        {
            **dict.fromkeys(("sensor_type", "value"), VALUES),
            **dict.fromkeys(("reading_type", "sensor_id", "unit", "origin"), VALUES),
            "timestamp": st.one_of(NUMBERS, TEXTS, st.none(), st.booleans()),
            "metadata": METADATA,
            "firmware": VALUES,
        }
    ),
    st.fixed_dictionaries(
        {"sensor_type": TEXTS, "value": VALUES},
        optional={"unit": TEXTS, "sensor_id": TEXTS, "metadata": METADATA, "extra": VALUES},
    ),
)
HEARTBEATS = objects(
    {
        **dict.fromkeys(("uptime_s", "battery", "rssi", "free_memory", "timestamp"), VALUES),
        "firmware_version": VALUES,
        "unknown": VALUES,
    }
)


def is_decoded(reading: dict[str, Any]) -> bool:
    """Tell whether the intake takes a reading, its time apart, which depends on the clock."""
    decoded = decode_readings(json.dumps({"readings": [reading]}).encode())
    if decoded.rejected:
        return False
    taken = decoded.readings[0]
    return check_labels(taken) is None and check_value(taken.value) is None


def is_described(reading: dict[str, Any]) -> bool:
    try:
        ReadingsCreate.model_validate({"readings": [reading]})
    except ValidationError:
        return False
    return True


@given(READINGS)
@example({"sensor_type": "soil", "value": 1, "metadata": 5, "unknown": True})
@example({"reading_type": "soil", "value": 10**400})
@example({"sensor_type": "soil", "value": True, "timestamp": True})
@example({"sensor_type": "İ" * 26, "value": "1"})
@example({"sensor_type": "", "reading_type": "soil", "value": 0})
@example({"sensor_type": "soil", "reading_type": " ", "value": 0})
@example({"sensor_type": "soil", "reading_type": "x" * 51, "value": 0})
@example({"sensor_type": None, "reading_type": "soil", "value": 0})
def test_a_described_reading_is_one_that_is_decoded(reading: dict[str, Any]) -> None:
    assert is_described(reading) == is_decoded(reading)


@given(HEARTBEATS)
@example({"uptime_s": "86400"})
@example({"battery": True})
@example({"uptime_s": 10**400})
@example({"timestamp": 10**400})
def test_http_and_mqtt_accept_the_same_heartbeats(heartbeat: dict[str, Any]) -> None:
    body = json.dumps(heartbeat).encode()
    try:
        check_json(body)
        HeartbeatBody.model_validate(json.loads(body))
        described = True
    except (ValidationError, ValueError):
        described = False
    try:
        decode_heartbeat(body)
        decoded = True
    except Invalid:
        decoded = False

    assert described == decoded


@pytest.mark.parametrize("body", ReadingsCreate.model_json_schema()["examples"])
def test_the_examples_are_accepted_by_both(body: dict[str, Any]) -> None:
    for reading in body["readings"]:
        assert is_described(reading)
        assert is_decoded(reading)


def test_the_two_forms_of_a_reading_have_the_same_fields() -> None:
    for described, decoded in ((ReadingCreate, Incoming), (HeartbeatBody, HeartbeatCreate)):
        fields = {field.name for field in msgspec.structs.fields(decoded)}
        assert set(described.model_fields) == fields
