"""The bytes of chunks hold what was packed, cut at hours, and little more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.domains.telemetry.store.chunks import READINGS_MAX, pack, unpack
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR
from fieldstation.domains.telemetry.store.points import Points, floats, in_key_order, integers
from tests.contracts.readings import NOON_US

FIRST_HOUR = NOON_US // US_PER_HOUR
STARTS_US = [(FIRST_HOUR + hour) * US_PER_HOUR for hour in range(4)]

offsets = st.integers(0, US_PER_HOUR - 1) | st.sampled_from([0, 1, US_PER_HOUR - 1])
instants = st.builds(int.__add__, st.sampled_from(STARTS_US), offsets)
keys = st.tuples(st.integers(1, 3) | st.just(2**40), instants)
values = st.sampled_from([-0.0, 0.0, 5e-324, 1e308, -1e308]) | st.floats(allow_nan=False)
# Each width by itself, and all of them in one run.
flags = st.sampled_from([2**8 - 1, 2**16 - 1, 2**31 - 1]).flatmap(lambda most: st.integers(0, most))
readings = st.dictionaries(keys, st.tuples(values, flags), min_size=1, max_size=60)


def make_points(rows: dict[tuple[int, int], tuple[float, int]]) -> Points:
    return in_key_order(
        Points(
            integers([series_id for series_id, _ in rows]),
            integers([ts_us for _, ts_us in rows]),
            floats([value for value, _ in rows.values()]),
            integers([flag for _, flag in rows.values()]),
        )
    )


def make_run(count: int, *, flag_values: int = 1) -> Points:
    """Make readings of one series within an hour; their flags go round."""
    return make_points(
        {(7, FIRST_HOUR * US_PER_HOUR + at): (at / 7, at % flag_values) for at in range(count)}
    )


def unpacked(rows: list[tuple[int, int, int, int, int, bytes]]) -> Points:
    return unpack([(hour, series_id, count, data) for hour, series_id, _, _, count, data in rows])


def bytes_of(points: Points) -> list[bytes]:
    """Return the columns so that -0.0 is not 0.0."""
    return [c.tobytes() for c in (points.series_id, points.ts_us, points.value, points.flags)]


@given(rows=readings)
def test_whatever_was_packed_comes_back(rows: dict[tuple[int, int], tuple[float, int]]) -> None:
    points = make_points(rows)

    assert bytes_of(unpacked(pack(points))) == bytes_of(points)


@given(rows=readings)
def test_a_chunk_is_of_one_series_and_hour_and_says_what_it_holds(
    rows: dict[tuple[int, int], tuple[float, int]],
) -> None:
    packed = pack(make_points(rows))

    for row in packed:
        hour, series_id, start_us, end_us, count, _ = row
        own = unpacked([row])
        assert set(own.series_id.tolist()) == {series_id}
        assert set((own.ts_us // US_PER_HOUR).tolist()) == {hour}
        assert (own.ts_us[0], own.ts_us[-1], len(own)) == (start_us, end_us, count)
    assert len({(hour, series_id) for hour, series_id, *_ in packed}) == len(packed)


@pytest.mark.parametrize("largest", [0, 1, 255, 256, 65_535, 65_536, 2**31 - 1])
def test_flags_of_every_width_come_back(largest: int) -> None:
    start_us = FIRST_HOUR * US_PER_HOUR
    equal = make_points({(1, start_us + at): (0.5, largest) for at in range(5)})
    mixed = make_points({(1, start_us + at): (0.5, largest * (at % 2)) for at in range(5)})

    assert bytes_of(unpacked(pack(equal))) == bytes_of(equal)
    assert bytes_of(unpacked(pack(mixed))) == bytes_of(mixed)


def test_a_run_longer_than_a_chunk_is_cut() -> None:
    points = make_run(2 * READINGS_MAX + 5, flag_values=3)

    packed = pack(points)

    assert [count for *_, count, _ in packed] == [READINGS_MAX, READINGS_MAX, 5]
    assert bytes_of(unpacked(packed)) == bytes_of(points)


def test_a_full_chunk_is_not_cut() -> None:
    assert len(pack(make_run(READINGS_MAX))) == 1


@pytest.mark.parametrize(("flag_values", "bytes_each"), [(1, 12), (3, 13)])
def test_a_reading_takes_12_bytes_or_13(flag_values: int, bytes_each: int) -> None:
    ((*_, data),) = pack(make_run(1_000, flag_values=flag_values))

    assert 0 <= len(data) - 1_000 * bytes_each <= 6


def test_unknown_form_is_refused() -> None:
    ((hour, series_id, *_, count, data),) = pack(make_run(3))

    with pytest.raises(ValueError, match="unknown form 9"):
        unpack([(hour, series_id, count, b"\x09" + data[1:])])


def test_no_rows_are_no_readings() -> None:
    assert len(unpack([])) == 0
