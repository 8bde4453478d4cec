"""Compressed bodies are undone within limits, and refused beyond them."""

import gzip
import json
import sys
import zlib
from random import Random
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.errors import Malformed, TooLarge, UnsupportedMedia
from fieldstation.core.limits import (
    BODY_BYTES_MAX,
    INFLATED_BYTES_MAX,
    INLINE_DECODE_BYTES_MAX,
)
from fieldstation.web.bodies import MEMBERS_MAX, SLICE_BYTES, inflate
from tests.clients import StationClient, TestDevice, expect

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NO_BYTES = {"gzip": gzip.compress(b""), "zstd": zstd.compress(b"")}


@given(st.binary(max_size=4096))
def test_what_was_compressed_comes_back(body: bytes) -> None:
    assert inflate(body, "identity") == body
    assert inflate(gzip.compress(body), "gzip") == body
    assert inflate(gzip.compress(body), "x-gzip") == body
    assert inflate(zlib.compress(body), "deflate") == body
    assert inflate(zstd.compress(body), "zstd") == body


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "br", "zstd", ""]))
def test_any_other_bytes_are_a_sentence(body: bytes, encoding: str) -> None:
    try:
        inflate(body, encoding)
    except (Malformed, UnsupportedMedia) as error:
        assert error.detail.endswith(".")  # noqa: PT017 - it may also be valid


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_body_that_ends_too_early_is_refused(body: bytes, data: st.DataObject) -> None:
    whole = gzip.compress(body)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(Malformed):
        inflate(part, "gzip")


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_zstd_body_that_ends_too_early_is_refused(body: bytes, data: st.DataObject) -> None:
    whole = zstd.compress(body)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(Malformed):
        inflate(part, "zstd")


def test_zstd_may_neither_inflate_beyond_the_limit_nor_claim_a_huge_window() -> None:
    assert len(inflate(zstd.compress(bytes(INFLATED_BYTES_MAX)), "zstd")) == INFLATED_BYTES_MAX
    with pytest.raises(TooLarge, match="64 MiB"):
        inflate(zstd.compress(bytes(INFLATED_BYTES_MAX + 1)), "zstd")
    window = {int(zstd.CompressionParameter.window_log): 27}
    compressor = zstd.ZstdCompressor(options=window)
    claims = compressor.compress(b"[]") + compressor.flush()
    with pytest.raises(Malformed):
        inflate(claims, "zstd")


def test_what_inflates_beyond_the_limit_is_refused_before_it_is_whole() -> None:
    at_limit = gzip.compress(bytes(INFLATED_BYTES_MAX), compresslevel=1)
    assert len(inflate(at_limit, "gzip")) == INFLATED_BYTES_MAX
    bomb = gzip.compress(bytes(INFLATED_BYTES_MAX + 1), compresslevel=1)
    assert len(bomb) < INFLATED_BYTES_MAX / 200
    with pytest.raises(TooLarge, match="64 MiB"):
        inflate(bomb, "gzip")


def test_a_body_in_several_parts_is_whole() -> None:
    parts = gzip.compress(b'[{"value":') + gzip.compress(b"1}]")
    assert inflate(parts, "gzip") == b'[{"value":1}]'  # RFC 1952: a file is a series of members


def test_a_part_longer_than_a_slice_is_whole() -> None:
    random = Random(3)  # noqa: S311 - bytes that do not compress
    long = random.randbytes(5 * SLICE_BYTES + 7)
    assert inflate(gzip.compress(long) + gzip.compress(b"end"), "gzip") == long + b"end"
    assert inflate(zstd.compress(long) + zstd.compress(b"end"), "zstd") == long + b"end"


@pytest.mark.parametrize("encoding", NO_BYTES)
def test_a_body_of_countless_members_is_refused_at_once(encoding: str) -> None:
    empty = NO_BYTES[encoding]
    assert inflate(empty * MEMBERS_MAX, encoding) == b""
    began = process_time()
    with pytest.raises(TooLarge, match="members"):
        inflate(empty * (BODY_BYTES_MAX // len(empty)), encoding)
    assert process_time() - began < 2


def test_what_stands_behind_the_end_is_refused() -> None:
    with pytest.raises(Malformed):
        inflate(gzip.compress(b"[]") + b"and more", "gzip")


def post(client: StationClient, device: TestDevice, body: bytes, encoding: str) -> int:
    headers = {**device.headers, "Content-Encoding": encoding}
    return client.http.post(device.readings_path, content=body, headers=headers).status_code


def test_devices_may_compress(client: StationClient) -> None:
    device = client.register_device()
    body = json.dumps([{"sensor_type": "t", "value": n} for n in range(4_000)]).encode()
    assert len(body) > INLINE_DECODE_BYTES_MAX
    for encoding, compressed in (
        ("gzip", gzip.compress(body)),
        ("GZIP", gzip.compress(body)),
        ("deflate", zlib.compress(body)),
        ("zstd", zstd.compress(body)),
        ("identity", body),
    ):
        headers = {**device.headers, "Content-Encoding": encoding}
        answer = client.http.post(device.readings_path, content=compressed, headers=headers)
        assert expect(answer, 201)["accepted"] == 4_000


def test_a_bomb_and_half_a_body_are_refused_and_the_station_goes_on(client: StationClient) -> None:
    device = client.register_device()
    bomb = gzip.compress(b"[" + b" " * (65 << 20) + b"]", compresslevel=1)
    assert post(client, device, bomb, "gzip") == 413
    assert post(client, device, gzip.compress(b"[]")[:-6], "gzip") == 400
    assert post(client, device, b"no gzip", "gzip") == 400
    assert post(client, device, b'{"sensor_type": "t", "value": 1}', "identity") == 201
