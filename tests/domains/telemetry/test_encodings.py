"""MessagePack and CBOR say the same as JSON, and their oddities are told apart."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.errors import Invalid, Malformed
from fieldstation.domains.telemetry.payloads import (
    Decoded,
    decode_cbor,
    decode_msgpack,
    decode_readings,
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
    except (Invalid, Malformed) as error:
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
    except (Invalid, Malformed) as error:
        assert error.detail.endswith(".")  # noqa: PT017 - it may also be valid


@pytest.mark.parametrize(
    ("decode", "body"),
    [(decode_msgpack, b"\x91" * 100_000), (decode_cbor, b"\x81" * 100_000)],
)
def test_endless_nesting_is_refused(decode: Callable[[bytes], Decoded], body: bytes) -> None:
    with pytest.raises(Malformed) as raised:
        decode(body)
    assert raised.value.code == "too_deep"


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
