"""Blocks give back the lines that were packed, to the last bit."""

import numpy as np
import pytest

from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR
from fieldstation.domains.telemetry.store.partials import NAMES, merged, summarised
from fieldstation.domains.telemetry.store.points import Points
from fieldstation.domains.telemetry.store.rollup_blocks import (
    DAY,
    HOUR,
    pack_blocks,
    unpack_blocks,
    unpack_matrix,
)

SERIES = 3


@pytest.mark.parametrize(("hours", "blocks"), [(HOUR, 41), (DAY, 3)])
def test_blocks_give_back_their_lines(hours: int, blocks: int) -> None:
    random = np.random.default_rng(3)
    ts_us = np.sort(random.integers(0, 40 * 24 * US_PER_HOUR, 5_000)) + 20_799 * 24 * US_PER_HOUR
    value = random.choice([1e300, -2.5, 0.1, 1e301, 7.0], 5_000)
    points = Points(np.full(5_000, SERIES), ts_us, value, np.zeros(5_000, np.int64))
    lines = merged(summarised(points, US_PER_HOUR), hours * US_PER_HOUR)

    packed = list(pack_blocks(lines, hours))
    found = unpack_blocks(packed, hours)

    assert {key.series_id for key, _ in packed} == {SERIES}
    assert len(packed) in {blocks, blocks - 1}
    for name in NAMES:
        assert getattr(found, name).tolist() == getattr(lines, name).tolist(), name


def test_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown form 7"):
        unpack_matrix(b"\x07")
