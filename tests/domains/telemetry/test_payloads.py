"""What devices send is read, or told apart reading by reading, whatever it is."""

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.clock import instant_to_us, parse_time, us_to_instant, us_to_rfc3339
from fieldstation.core.errors import Invalid, Malformed, TooDeep, TooLarge
from fieldstation.core.limits import JSON_DEPTH_MAX
from fieldstation.domains.telemetry.payloads import (
    AHEAD_US_MAX,
    EARLIEST_US,
    Decoded,
    Incoming,
    Rejection,
    check_labels,
    check_time,
    check_value,
    decode_cbor,
    decode_msgpack,
    decode_readings,
    encode_metadata,
)
from fieldstation.web.bodies import depth_of

NOW_US = 1_777_636_800_000_000
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
READING = st.fixed_dictionaries(
    {
        "value": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.booleans(), TEXT),
        "sensor_type": TEXT,
    },
    optional={
        "unit": TEXT,
        "sensor_id": TEXT,
        "origin": TEXT,
        "timestamp": st.one_of(st.integers(0, 1 << 62), TEXT),
        "metadata": st.dictionaries(TEXT, st.integers(-5, 5), max_size=3),
    },
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


def encoded(content: Any) -> bytes:
    return json.dumps(content).encode()


@given(st.lists(READING, max_size=6))
def test_every_form_of_a_body_holds_the_same_readings(readings: list[dict[str, Any]]) -> None:
    bare = decode_readings(encoded(readings))
    wrapped = decode_readings(encoded({"readings": readings}))
    indented = decode_readings(json.dumps(readings, indent=2).encode())
    assert list(bare.readings) == list(wrapped.readings) == list(indented.readings)
    assert [reading.value for reading in bare.readings] == [r["value"] for r in readings]
    assert bare.rejected == wrapped.rejected == []
    for reading in readings:
        (single,) = decode_readings(encoded(reading)).readings
        assert single == decode_readings(encoded([reading])).readings[0]


@given(st.lists(st.one_of(READING, JSON), min_size=1, max_size=8))
def test_each_reading_is_either_read_or_rejected_under_its_own_position(items: list[Any]) -> None:
    decoded = decode_readings(encoded({"readings": items}))
    positions = decoded.positions
    if positions is None:
        positions = range(len(decoded.readings))
    rejected = [fault.index for fault in decoded.rejected]
    assert sorted([*positions, *rejected]) == list(range(len(items)))
    for fault in decoded.rejected:
        assert fault.error
        assert fault.detail


@given(st.binary(max_size=200))
def test_any_bytes_are_readings_or_a_refusal(body: bytes) -> None:
    try:
        decode_readings(body)
    except (Malformed, Invalid) as error:
        assert error.detail.endswith(".")  # noqa: PT017 - it may also be valid


@pytest.mark.parametrize(
    "body",
    [
        b'{"sensor_type": "t", "unit": "\xb0C", "value": 1}',  # ISO 8859-1
        b'[{"sensor_type": "t", "value": "\xff"}]',
        b'{"readings": [{"sensor_type": "\xfe", "value": 1}]}',
    ],
)
def test_bytes_that_are_no_utf_8_are_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_readings(body)


@given(JSON)
def test_any_json_is_readings_or_a_refusal(content: Any) -> None:
    try:
        decode_readings(encoded(content))
    except Invalid as error:
        assert error.code == "no_readings"  # noqa: PT017 - it may also be valid


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 50_000, b'[{"value":' + b"[" * 9_999])
def test_bottomless_nesting_is_too_deep(body: bytes) -> None:
    with pytest.raises(TooLarge) as raised:
        decode_readings(body)
    assert raised.value.code == "too_deep"


PATHS: dict[str, Callable[[Any], Any]] = {
    "alone": lambda metadata: {"value": 1, "metadata": metadata},
    "in a list": lambda metadata: [{"value": 1, "metadata": metadata}],
    "in a batch": lambda metadata: {"readings": [{"value": 1, "metadata": metadata}]},
    "beside others": lambda metadata: [{"value": 1}] * 60 + [{"value": 1, "metadata": metadata}],
    "unknown field": lambda metadata: {"value": 1, "x": metadata},
    "beside a bad one": lambda metadata: [{"value": None}, {"value": 1, "metadata": metadata}],
    "beside the batch": lambda metadata: {"readings": [], "x": metadata},
}
DECODERS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Decoded]]] = {
    "JSON": (encoded, decode_readings),
    "CBOR": (cbor2.dumps, decode_cbor),
    "MessagePack": (msgspec.msgpack.encode, decode_msgpack),
}


@pytest.mark.parametrize("encoding", DECODERS)
@pytest.mark.parametrize("path", PATHS)
def test_a_body_is_decoded_to_its_deepest_level_and_no_further(path: str, encoding: str) -> None:
    encode, decode = DECODERS[encoding]
    levels_around = depth_of(PATHS[path]({})) - 1
    deepest = PATHS[path](nested(JSON_DEPTH_MAX - levels_around))
    assert depth_of(deepest) == JSON_DEPTH_MAX
    decode(encode(deepest))
    with pytest.raises(TooDeep, match=f"{encoding} is nested deeper than 32 levels"):
        decode(encode(PATHS[path](nested(JSON_DEPTH_MAX - levels_around + 1))))


def test_unknown_fields_move_into_the_metadata() -> None:
    item = {"sensor_type": "t", "value": 1, "rssi": -60, "metadata": {"batch": 7, "rssi": 0}}
    (reading,) = decode_readings(encoded(item)).readings
    assert reading.metadata == {"rssi": 0, "batch": 7}
    (reading,) = decode_readings(encoded([{"type": "x", "sensor_type": "t", "value": 1}])).readings
    assert reading.metadata == {"type": "x"}


def test_reading_type_is_taken_for_sensor_type() -> None:
    (reading,) = decode_readings(b'{"reading_type": "t", "value": 1}').readings
    assert check_labels(reading) is None
    assert reading.reading_type == "t"


def test_one_bad_reading_does_not_take_its_neighbours_along() -> None:
    body = b'{"readings": [{"sensor_type": "a", "value": 1}, {"sensor_type": "b", "value": NaN},'
    body += b'{"sensor_type": "c"}, {"sensor_type": "d", "value": {}}, 5,'
    body += b'{"sensor_type": "e", "value": 2}]}'
    decoded = decode_readings(body)
    assert [reading.sensor_type for reading in decoded.readings] == ["a", "b", "e"]
    assert decoded.positions == [0, 1, 5]
    assert [(fault.index, fault.error) for fault in decoded.rejected] == [
        (2, "value_missing"),
        (3, "invalid_value"),
        (4, "invalid_reading"),
    ]
    fault = check_value(decoded.readings[1].value)
    assert fault is not None
    assert fault.error == "not_finite"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    fault = check_value(value)
    assert fault is not None
    assert fault.error == "not_finite"


def test_a_text_may_fill_its_limit_in_bytes() -> None:
    assert check_value("ü" * 512) is None
    fault = check_value("ü" * 512 + "x")
    assert fault is not None
    assert fault.error == "value_too_long"


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "x\udfff"])
def test_a_text_that_no_database_holds_is_refused(text: str) -> None:
    assert check_value(text) is not None


@pytest.mark.parametrize("body", [b'{"sensor_type":"t","value":"\\ud800"}'])
def test_half_a_surrogate_pair_ends_as_a_rejection(body: bytes) -> None:
    decoded = decode_readings(body)
    faults = decoded.rejected or [check_value(reading.value) for reading in decoded.readings]
    assert faults != [None]


instants = st.integers(946_684_800_000_000, 4_102_444_800_000_000).map(us_to_instant)


@given(instants)
def test_a_time_is_the_same_in_every_unit(instant: datetime) -> None:
    us = instant_to_us(instant)
    assert parse_time(us * 1_000) == us
    assert parse_time(us) == us
    assert parse_time(us // 1_000) == us // 1_000 * 1_000
    assert parse_time(us // 1_000_000) == us // 1_000_000 * 1_000_000
    assert parse_time(us / 1_000_000) == us
    assert parse_time(us_to_rfc3339(us)) == us


@given(instants, st.integers(-23 * 60, 23 * 60))
def test_any_offset_is_read(instant: datetime, minutes: int) -> None:
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    local = (instant + timedelta(minutes=minutes)).replace(tzinfo=None)
    text = f"{local.isoformat()}{sign}{hours:02}:{rest:02}"
    assert parse_time(text) == instant_to_us(instant)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01T12:00:00Z", NOW_US),
        ("2026-05-01T12:00:00", NOW_US),
        ("2026-05-01 12:00:00+00:00", NOW_US),
        ("2026-05-01T14:00:00.000001+02:00", NOW_US + 1),
        ("2026-05-01T12:00:00.1Z", NOW_US + 100_000),
        ("2026-05-01T12:00:00.123456789Z", NOW_US + 123_456),
        ("2026-05-01t12:00:00z", NOW_US),  # RFC 3339: letters may be lower case
        ("yesterday", None),
        ("", None),
        ("2026-13-01T00:00:00Z", None),
        ("12:00:00", None),
    ],
)
def test_written_times(text: str, expected: int | None) -> None:
    assert parse_time(text) == expected


@given(st.one_of(st.integers(), st.floats(), st.text(max_size=30)))
def test_no_time_makes_the_reader_fail(value: float | str) -> None:
    found = parse_time(value)
    assert found is None or isinstance(found, int)
    check_time(found, NOW_US)


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), 10**30, 1e308, -1e308], ids=lambda value: f"{str(value)[:5]}"
)
def test_a_number_beyond_all_time_is_refused(value: float) -> None:
    assert check_time(parse_time(value), NOW_US) is not None


@pytest.mark.parametrize(
    ("ts_us", "error"),
    [
        (EARLIEST_US, None),
        (EARLIEST_US - 1, "timestamp_too_old"),
        (NOW_US + AHEAD_US_MAX, None),
        (NOW_US + AHEAD_US_MAX + 1, "timestamp_in_future"),
        (None, "invalid_timestamp"),
    ],
)
def test_the_year_2000_and_tomorrow_are_the_limits(ts_us: int | None, error: str | None) -> None:
    fault = check_time(ts_us, NOW_US)
    assert (None if fault is None else fault.error) == error


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"sensor_type": "x" * 50}, None),
        ({"sensor_type": "x" * 51}, "sensor_type_too_long"),
        ({"sensor_id": "x" * 100}, None),
        ({"sensor_id": "x" * 101}, "sensor_id_too_long"),
        ({"unit": "°" * 20}, None),
        ({"unit": "x" * 21}, "unit_too_long"),
        ({"origin": "x" * 21}, "origin_too_long"),
        ({"sensor_type": ""}, "sensor_type_missing"),
        ({"sensor_type": "  "}, "sensor_type_missing"),
        ({"sensor_type": None}, "sensor_type_missing"),
        ({"sensor_id": "a\nb"}, "sensor_id_invalid"),
        ({"unit": "\x00"}, "unit_invalid"),
        ({"origin": "\x1b[2J"}, "origin_invalid"),
        ({"sensor_type": "\ud800"}, "sensor_type_invalid"),
    ],
)
def test_labels_have_limits(fields: dict[str, Any], error: str | None) -> None:
    reading = msgspec.convert({"value": 1.0, "sensor_type": "t", **fields}, Incoming)
    fault = check_labels(reading)
    assert (None if fault is None else fault.error) == error


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 0


def test_metadata_has_a_size() -> None:
    fits = {"x": "y" * (4096 - len('{"x":""}'))}
    assert encode_metadata(fits) == msgspec.json.encode(fits)
    refusal = encode_metadata({"x": fits["x"] + "y"})
    assert isinstance(refusal, Rejection)
    assert refusal.error == "metadata_too_large"


@given(JSON)
def test_any_metadata_is_encoded_or_refused(content: Any) -> None:
    encode_metadata({"x": content})


def test_metadata_with_half_a_surrogate_pair_is_refused() -> None:
    (reading,) = decode_readings(
        b'{"sensor_type": "t", "value": 1, "metadata": {"a": "\\ud800"}}'
    ).readings
    assert not isinstance(encode_metadata(reading.metadata or {}), bytes)
