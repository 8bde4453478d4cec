"""What a sealed chunk holds comes back bit by bit, in few bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fieldstation.domains.telemetry.store.compression import (
    FORM,
    READINGS_MAX,
    Outline,
    compress,
    cut,
    decompress,
)
from fieldstation.domains.telemetry.store.points import Points, floats, integers
from tests.contracts.readings import NOON_US, SECOND_US
from tests.domains.telemetry.store.test_chunks import bytes_of

SERIES = 2**40

decimals = st.integers(-999, 999).map(lambda whole: whole / 10)
odd = st.sampled_from([-0.0, 0.0, 5e-324, 1e308, -1e308, float("inf"), 2.0**53 + 2, 1 / 3])
mostly_decimals = st.lists(decimals, min_size=20, max_size=60).flatmap(
    lambda found: st.lists(odd, max_size=3).map(lambda more: found + more)
)
values = mostly_decimals | st.lists(odd | st.floats(allow_nan=False), min_size=1, max_size=60)
gaps = st.integers(1, 9) | st.sampled_from([1_000, SECOND_US, 3_600 * SECOND_US, 2**45])
flags = st.sampled_from([2**8 - 1, 2**31 - 1]).flatmap(lambda most: st.integers(0, most))


def make_points(value: list[float], gap: list[int], flag: list[int]) -> Points:
    count = len(value)
    between = [0, *(gap[at % len(gap)] for at in range(count - 1))]
    return Points(
        integers([SERIES] * count),
        NOON_US + np.cumsum(integers(between)),
        floats(value),
        integers([flag[at % len(flag)] for at in range(count)]),
    )


def again(points: Points) -> Points:
    ends = int(points.ts_us[0]), int(points.ts_us[-1])
    return decompress(Outline(SERIES, *ends, len(points)), compress(points))


@settings(deadline=None)
@given(
    value=values,
    gap=st.lists(gaps, min_size=1, max_size=5),
    flag=st.lists(flags, min_size=1, max_size=4),
)
def test_what_is_compressed_comes_back_bit_by_bit(
    value: list[float], gap: list[int], flag: list[int]
) -> None:
    points = make_points(value, gap, flag)

    assert bytes_of(again(points)) == bytes_of(points)


def test_the_longest_chunk_of_the_wildest_readings_comes_back() -> None:
    random = np.random.default_rng(1)
    instants = np.sort(random.choice(2**53, READINGS_MAX, replace=False)).astype(np.int64)
    points = Points(
        np.full(READINGS_MAX, SERIES, np.int64),
        instants,
        random.normal(0, 1e200, READINGS_MAX),
        random.integers(0, 2**32 - 1, READINGS_MAX),
    )

    assert bytes_of(again(points)) == bytes_of(points)


def series_of(instants: NDArray[np.int64], value: NDArray[np.float64]) -> Points:
    same = np.full(len(value), SERIES, np.int64)
    return Points(same, instants, value, np.full(len(value), 256, np.int64))


REGULAR = NOON_US + np.arange(READINGS_MAX, dtype=np.int64) * 10 * SECOND_US
RANDOM = np.random.default_rng(7)
JITTERED = REGULAR + RANDOM.normal(0, 5_000, READINGS_MAX).astype(np.int64)
DAILY = np.round(
    20 + 5 * np.sin(np.arange(READINGS_MAX) / 1_375) + RANDOM.normal(0, 0.2, READINGS_MAX), 1
)
WALK = np.round(20 + np.cumsum(RANDOM.normal(0, 0.05, READINGS_MAX)), 1)
NOISE = np.round(RANDOM.normal(20, 1, READINGS_MAX), 1)
NIGHT = np.where(np.arange(READINGS_MAX) < READINGS_MAX // 2, 0.0, WALK)
AROUND_ZERO = np.round(RANDOM.normal(0, 1, READINGS_MAX), 1)


@pytest.mark.parametrize(
    ("instants", "value", "most"),
    [
        (REGULAR, DAILY, 0.6),
        (REGULAR, WALK, 0.25),
        (JITTERED, DAILY, 2.4),
        (JITTERED, WALK, 2.1),
        (REGULAR, NOISE, 0.72),
        (REGULAR, NIGHT, 0.16),
        # Some four in a hundred are -0.0 and stand apart.
        (REGULAR, AROUND_ZERO, 1.2),
    ],
    ids=[
        "regular daily",
        "regular walk",
        "jittered daily",
        "jittered walk",
        "noise",
        "night",
        "around zero",
    ],
)
def test_a_reading_with_one_decimal_takes_few_bytes(
    instants: NDArray[np.int64], value: NDArray[np.float64], most: float
) -> None:
    points = series_of(instants, value)

    assert len(compress(points)) / len(points) < most
    assert bytes_of(again(points)) == bytes_of(points)


@pytest.mark.parametrize(("count", "pieces"), [(1, 1), (4_096, 1), (4_097, 2), (12_289, 4)])
def test_readings_are_cut_into_equal_pieces(count: int, pieces: int) -> None:
    points = series_of(NOON_US + np.arange(count), np.zeros(count))

    found = cut(points)

    lengths = [len(piece) for piece in found]
    assert (len(found), sum(lengths)) == (pieces, count)
    assert max(lengths) - min(lengths) <= 1
    assert np.concatenate([piece.ts_us for piece in found]).tolist() == points.ts_us.tolist()


def test_a_form_that_is_unknown_is_refused() -> None:
    packed = compress(series_of(REGULAR[:2], WALK[:2]))
    unknown = packed.replace(bytes([FORM]), bytes([FORM + 1]), 1)
    assert unknown != packed

    with pytest.raises(ValueError, match="unknown form 2"):
        decompress(Outline(SERIES, int(REGULAR[0]), int(REGULAR[1]), 2), unknown)
