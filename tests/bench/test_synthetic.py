"""Long series are the same in blocks of any size, and as regular and as coarse as they say."""

import numpy as np

from bench.data import SENSORS
from bench.filling import block_points, block_span_us
from bench.synthetic import US_PER_HOUR, SyntheticSeries, Timing, spans

LEVEL, WALK = 0, 1
START_US = 497_222 * US_PER_HOUR
REGULAR = Timing(interval_us=1_000_000)
JITTERED = Timing(interval_us=1_000_000, jitter_us=100_000)


def test_a_series_does_not_depend_on_its_blocks() -> None:
    for number in (LEVEL, WALK):
        whole = SyntheticSeries(number, JITTERED, start_us=START_US).take(1_000)
        cut = SyntheticSeries(number, JITTERED, start_us=START_US)
        parts = [cut.take(300), cut.take(700)]

        assert np.array_equal(whole[0], np.concatenate([ts_us for ts_us, _ in parts]))
        assert np.array_equal(whole[1], np.concatenate([value for _, value in parts]))


def test_other_series_have_other_values_and_other_delays() -> None:
    first = SyntheticSeries(LEVEL, JITTERED, start_us=START_US).take(100)
    other = SyntheticSeries(LEVEL + len(SENSORS), JITTERED, start_us=START_US).take(100)

    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_regular_instants_are_an_interval_apart_jittered_ones_whole_milliseconds_later() -> None:
    regular, _ = SyntheticSeries(LEVEL, REGULAR, start_us=START_US).take(3_600)
    jittered, _ = SyntheticSeries(LEVEL, JITTERED, start_us=START_US).take(3_600)
    delays = jittered - regular

    assert (np.diff(regular) == 1_000_000).all()
    assert (delays % 1_000 == 0).all()
    assert (delays.min(), delays.max()) == (0, 99_000)


def test_levels_have_one_decimal_and_walks_go_far_in_small_steps() -> None:
    _, level = SyntheticSeries(LEVEL, REGULAR, start_us=START_US).take(10_000)
    _, walk = SyntheticSeries(WALK, REGULAR, start_us=START_US).take(10_000)

    assert np.array_equal(level, np.round(level, 1))
    assert np.ptp(level) <= SENSORS[LEVEL].spread + 0.1
    assert np.abs(np.diff(walk)).max() <= SENSORS[WALK].spread / 20 + 0.001
    assert np.ptp(walk) > SENSORS[WALK].spread


def test_a_block_has_every_series_in_key_order() -> None:
    streams = [SyntheticSeries(number, REGULAR, start_us=START_US) for number in (0, 1)]

    points = block_points(streams, [12, 5], 10)

    assert points.series_id.tolist() == [5] * 10 + [12] * 10
    assert points.ts_us.tolist() == [START_US + at * 1_000_000 for at in range(10)] * 2
    own = SyntheticSeries(1, REGULAR, start_us=START_US).take(10)[1]
    assert points.value[:10].tolist() == own.tolist()


def test_blocks_are_whole_hours_and_a_period_is_covered_once() -> None:
    assert block_span_us(REGULAR, 100, 1_000_000) == 2 * US_PER_HOUR
    assert block_span_us(REGULAR, 100, 10) == US_PER_HOUR
    assert list(spans(0, 10, 4)) == [(0, 4), (4, 8), (8, 10)]
