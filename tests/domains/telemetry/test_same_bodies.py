"""The described and the decoded form of the same body accept the same input."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fieldstation.core.errors import Invalid, TooDeep
from fieldstation.core.limits import JSON_DEPTH_MAX
from fieldstation.domains.devices.heartbeats import decode_heartbeat
from fieldstation.domains.devices.schemas.devices import HeartbeatBody, HeartbeatCreate
from fieldstation.domains.telemetry.payloads import (
    Incoming,
    check_labels,
    check_value,
    decode_readings,
    encode_metadata,
)
from fieldstation.domains.telemetry.schemas import (
    METADATA_BYTES_MAX,
    ReadingCreate,
    ReadingsCreate,
)
from fieldstation.web.bodies import check_depth, check_json
from tests.clients import StationClient, expect

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
FITTING = {"x": "y" * (METADATA_BYTES_MAX - len('{"x":""}'))}


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


METADATA = st.sampled_from(
    [
        *(None, {}, {"raw": 2150}, 5, "x", [], FITTING, {"x": FITTING["x"] + "y"}),
        *(nested(JSON_DEPTH_MAX - 3), nested(JSON_DEPTH_MAX), nested(900)),
        *({"a": "\x00"}, {"\x00": 1}, {"a": [{"b": "x\x00"}]}, {"a": "\ud800"}, {"\udfff": []}),
    ]
)


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


def in_a_batch(reading: Any) -> Any:
    return {"readings": [reading]}


def in_a_list(reading: Any) -> Any:
    return [reading]


def alone(reading: Any) -> Any:
    return reading


FORMS = [in_a_batch, in_a_list, alone]
DESCRIBED = TypeAdapter[object](ReadingsCreate | list[ReadingCreate] | ReadingCreate)


def is_decoded(body: Any) -> bool:
    """Tell whether the intake takes a reading, its time apart, which depends on the clock."""
    try:
        decoded = decode_readings(json.dumps(body).encode())
    except TooDeep:
        return False
    if decoded.rejected:
        return False
    taken = decoded.readings[0]
    if check_labels(taken) is not None or check_value(taken.value) is not None:
        return False
    return not taken.metadata or isinstance(encode_metadata(taken.metadata), bytes)


def is_described(body: Any) -> bool:
    """Tell whether a route that FastAPI serves would take it."""
    try:
        check_depth(body)
        DESCRIBED.validate_python(body)
    except (ValidationError, TooDeep):
        return False
    return True


@pytest.mark.parametrize("form", FORMS)
@given(READINGS)
@example({"sensor_type": "soil", "value": 1, "metadata": 5, "unknown": True})
@example({"sensor_type": "soil", "value": 1, "metadata": [], "unknown": True})
@example({"reading_type": "soil", "value": 10**400})
@example({"sensor_type": "soil", "value": True, "timestamp": True})
@example({"sensor_type": "İ" * 26, "value": "1"})
@example({"sensor_type": "", "reading_type": "soil", "value": 0})
@example({"sensor_type": "soil", "reading_type": " ", "value": 0})
@example({"sensor_type": "soil", "reading_type": "x" * 51, "value": 0})
@example({"sensor_type": None, "reading_type": "soil", "value": 0})
def test_a_described_reading_is_one_that_is_decoded(
    form: Callable[[Any], Any], reading: dict[str, Any]
) -> None:
    assert is_described(form(reading)) == is_decoded(form(reading))


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_heartbeat_may_say_nothing_at_both_doors(client: StationClient, body: bytes) -> None:
    device = client.register_device()
    path = f"/api/v1/devices/{device.id}/heartbeat"
    expect(client.http.post(path, content=body, headers=device.headers), 200)
    assert decode_heartbeat(body) == {}


@pytest.mark.parametrize("body", [b"null", b"[]", b"5", b"nothing"])
def test_a_heartbeat_that_is_no_object_is_refused_at_both_doors(
    client: StationClient, body: bytes
) -> None:
    device = client.register_device()
    path = f"/api/v1/devices/{device.id}/heartbeat"
    answer = client.http.post(path, content=body, headers=device.headers)
    assert answer.status_code in {400, 422}
    with pytest.raises(Invalid):
        decode_heartbeat(body)


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
    assert is_described(body)


def test_the_two_forms_of_a_reading_have_the_same_fields() -> None:
    for described, decoded in ((ReadingCreate, Incoming), (HeartbeatBody, HeartbeatCreate)):
        fields = {field.name for field in msgspec.structs.fields(decoded)}
        assert set(described.model_fields) == fields
