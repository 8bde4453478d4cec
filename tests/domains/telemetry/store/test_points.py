"""Readings come into the order of their keys, each key once, from whatever order they have."""

from hypothesis import given
from hypothesis import strategies as st

from fieldstation.domains.telemetry.store.points import (
    Points,
    floats,
    in_key_order,
    integers,
    is_in_key_order,
)

KEYS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5)), max_size=8)


def points_at(keys: list[tuple[int, int]]) -> Points:
    """Return readings whose value says where they stood."""
    return Points(
        integers([series_id for series_id, _ in keys]),
        integers([ts_us for _, ts_us in keys]),
        floats([float(place) for place in range(len(keys))]),
        integers([0] * len(keys)),
    )


def keys_of(points: Points) -> list[tuple[int, int]]:
    return list(zip(points.series_id.tolist(), points.ts_us.tolist(), strict=True))


@given(st.one_of(KEYS, KEYS.map(lambda keys: sorted(set(keys)))))
def test_every_key_is_there_once_and_the_first_reading_stands(keys: list[tuple[int, int]]) -> None:
    found = in_key_order(points_at(keys))
    assert keys_of(found) == sorted(set(keys))
    assert found.value.tolist() == [keys.index(key) for key in sorted(set(keys))]


@given(KEYS)
def test_order_is_told_from_disorder(keys: list[tuple[int, int]]) -> None:
    assert is_in_key_order(points_at(keys)) == (keys == sorted(set(keys)))
