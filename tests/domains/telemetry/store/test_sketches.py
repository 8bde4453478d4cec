"""Sketches tell every percentile within one percent, however their parts were put together."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.domains.telemetry.store.sketches import (
    added,
    pack_sketches,
    percentile_of,
    sketched,
    unpack_sketches,
)

values = st.lists(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(-30, 30),
        st.sampled_from([0.0, -0.0, 5e-324, -1.7976931348623157e308, 1.0, 101 / 99]),
    ),
    min_size=1,
    max_size=60,
)


@given(values=values, cuts=st.lists(st.integers(0, 60), max_size=3), percent=st.integers(0, 100))
def test_percentile_of_parts_is_within_one_percent(
    values: list[float], cuts: list[int], percent: int
) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(values)), len(values)]
    parts = [sketched(np.array(values[low:high])) for low, high in pairwise(edges) if low < high]
    whole = added(list(unpack_sketches(pack_sketches(range(len(parts)), parts)).values()))

    found = percentile_of(whole, percent, minimum=min(values), maximum=max(values))

    ordered = sorted(values)
    place, rest = divmod((len(values) - 1) * percent, 100)
    low, high = ordered[place], ordered[min(place + 1, len(values) - 1)]
    exact = low * (1 - rest / 100) + high * (rest / 100)
    assert int(whole.counts.sum()) == len(values)
    # Between the parts of a difference near the largest double the sum itself loses digits.
    slack = 0.01000001 * max(abs(low), abs(high))
    assert abs(found / 2 - exact / 2) <= slack / 2 or math.isclose(found, exact, abs_tol=1e-323)


def test_sketches_keep_their_slots() -> None:
    sketches = {3: sketched(np.array([1.0, 2.0, 2.0])), 31: sketched(np.array([-5.0]))}

    found = unpack_sketches(pack_sketches(list(sketches), list(sketches.values())))

    assert list(found) == [3, 31]
    for slot, sketch in sketches.items():
        assert found[slot].bins.tolist() == sketch.bins.tolist()
        assert found[slot].counts.tolist() == sketch.counts.tolist()


def test_a_day_of_a_slow_sensor_takes_few_bytes() -> None:
    values = 20 + 5 * np.sin(np.arange(86_400) / 13_750)

    assert len(pack_sketches([0], [sketched(values.round(1))])) < 200


def test_another_form_is_refused() -> None:
    packed = pack_sketches([0], [sketched(np.array([1.0]))])

    with pytest.raises(ValueError, match="unknown form 9"):
        unpack_sketches(b"\x09" + packed[1:])
