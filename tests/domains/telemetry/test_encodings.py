"""MessagePack and CBOR say the same as JSON, and their oddities are told apart."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.clock import parse_time
from fieldstation.core.errors import Invalid, Malformed, TooLarge
from fieldstation.domains.telemetry.payloads import (
    Decoded,
    check_time,
    check_value,
    decode_cbor,
    decode_msgpack,
    decode_readings,
    encode_metadata,
)
from tests.clients import StationClient, expect

ENCODINGS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Decoded]]] = {
    "application/msgpack": (msgspec.msgpack.encode, decode_msgpack),
    "application/cbor": (cbor2.dumps, decode_cbor),
}
names = st.text(max_size=5)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | names
items = st.dictionaries(
    st.sampled_from(["value", "sensor_type", "sensor_id", "unit", "timestamp", "metadata", "x"]),
    plain | st.dictionaries(names, plain, max_size=2) | st.lists(plain, max_size=2),
)
bodies = items | st.lists(items, max_size=4) | st.fixed_dictionaries({"readings": st.lists(items)})


def told(decode: Callable[[bytes], Decoded], body: bytes) -> object:
    """Return what a decoder makes of a body, comparable."""
    try:
        decoded = decode(body)
    except (Invalid, Malformed, TooLarge) as error:
        return error.code
    codes = [(fault.index, fault.error) for fault in decoded.rejected]
    return repr(list(decoded.readings)), list(decoded.positions or []), codes


@pytest.mark.parametrize("content_type", ENCODINGS)
@given(body=bodies)
def test_every_body_means_what_it_means_in_json(content_type: str, body: Any) -> None:
    encode, decode = ENCODINGS[content_type]
    assert told(decode, encode(body)) == told(decode_readings, json.dumps(body).encode())


@pytest.mark.parametrize("content_type", ENCODINGS)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_readings_or_a_sentence(content_type: str, body: bytes) -> None:
    try:
        ENCODINGS[content_type][1](body)
    except (Invalid, Malformed, TooLarge) as error:
        assert error.detail.endswith(".")  # noqa: PT017 - it may also be valid


@pytest.mark.parametrize(
    ("decode", "body"),
    [(decode_msgpack, b"\x91" * 100_000), (decode_cbor, b"\x81" * 100_000)],
)
def test_endless_nesting_is_refused(decode: Callable[[bytes], Decoded], body: bytes) -> None:
    with pytest.raises(TooLarge) as raised:
        decode(body)
    assert raised.value.code == "too_deep"


SHARED = cbor2.CBORTag(28, [cbor2.CBORTag(29, 0), cbor2.CBORTag(29, 0)])
REFERENCES = {
    "cyclic": cbor2.dumps({"sensor_type": "t", "value": 1, "metadata": {"a": SHARED}}),
    "shared": cbor2.dumps([[]] * 3, value_sharing=True),
    "text": cbor2.dumps(["a long text"] * 3, string_referencing=True),
    "pattern": cbor2.dumps(cbor2.CBORTag(35, "(a+)+$")),
    "message": cbor2.dumps(cbor2.CBORTag(36, "From: x")),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_reference_in_cbor_is_refused(kind: str) -> None:
    with pytest.raises(Malformed, match="no references"):
        decode_cbor(REFERENCES[kind])


LYING = [b"\x9b", b"\xbb", b"\x5b", b"\x7b"]


@pytest.mark.parametrize("head", LYING)
@pytest.mark.parametrize("length", [b"\x00\x00\x00\xff" + b"\xff" * 4, b"\xff" * 8])
def test_a_length_that_the_body_does_not_have_is_refused(head: bytes, length: bytes) -> None:
    for body in (head + length, b"\x81" + head + length + b"x"):
        with pytest.raises(Malformed):
            decode_cbor(body)


HUGE = [10**400, -(10**5_000), Fraction(10**400, 3), Decimal("1e999999"), Decimal("NaN")]


@pytest.mark.parametrize("huge", HUGE, ids=lambda huge: type(huge).__name__)
def test_a_number_that_no_reading_holds_leaves_its_neighbours_alone(huge: Any) -> None:
    fine = {"sensor_type": "t", "value": 1}
    body = cbor2.dumps(
        [
            fine,
            {"sensor_type": "t", "value": huge},
            {"sensor_type": "t", "value": 1, "timestamp": huge},
            {"sensor_type": "t", "value": 1, "metadata": {"a": huge}},
            fine,
        ]
    )
    decoded = decode_cbor(body)
    taken = decoded.readings
    assert (taken[0].value, taken[-1].value) == (1, 1)
    for reading in taken[1:-1]:
        given_us = None if reading.timestamp is None else parse_time(reading.timestamp)
        assert check_value(reading.value) or reading.metadata or check_time(given_us, now_us=0)
        encode_metadata(reading.metadata or {})


@pytest.mark.parametrize("body", [b"\x9b" + b"\xff" * 8, cbor2.dumps([]) + b"\x00", b""])
def test_cbor_that_lies_or_goes_on_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_cbor(body)


def test_dates_and_decimal_numbers_of_cbor_are_understood() -> None:
    moment = datetime(2026, 11, 22, 7, tzinfo=UTC)
    body = cbor2.dumps({"sensor_type": "t", "value": Decimal("21.5"), "timestamp": moment})
    (reading,) = decode_cbor(body).readings
    assert (reading.value, reading.timestamp) == (21.5, "2026-11-22T07:00:00+00:00")


@pytest.mark.parametrize("content_type", ENCODINGS)
def test_a_device_may_send_either(client: StationClient, content_type: str) -> None:
    device = client.register_device()
    body = {
        "readings": [
            {"sensor_type": "t", "value": 1, "timestamp": "2026-11-01T00:00:00Z"},
            {"sensor_type": "t", "value": b"bytes"},
            {"sensor_type": "t", "value": 2.5, "metadata": {"raw": b"\x00\x01"}},
        ]
    }
    headers = {**device.headers, "Content-Type": content_type}
    answer = client.http.post(
        device.readings_path, content=ENCODINGS[content_type][0](body), headers=headers
    )
    result = expect(answer, 201)
    assert (result["accepted"], [fault["index"] for fault in result["rejected"]]) == (2, [1])
    stored = client.get(device.readings_path)["items"]
    assert sorted(reading["value"] for reading in stored) == [1, 2.5]
