"""Long series are the same in blocks of any size, and as regular and as coarse as they say."""

import numpy as np

from bench.data import SENSORS
from bench.share import block_rows, block_span_us, progress_line
from bench.synthetic import US_PER_DAY, US_PER_HOUR, SyntheticSeries, Timing, spans
from fieldstation.domains.telemetry.store.chunks import unpack

LEVEL, WALK = 0, 1
START_US = 20_717 * US_PER_DAY
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
    assert np.ptp(level[:600]) <= 1.1 * SENSORS[LEVEL].spread
    assert np.abs(np.diff(walk)).max() <= SENSORS[WALK].spread / 20 + 0.001
    assert np.ptp(walk) > SENSORS[WALK].spread


def test_levels_follow_the_day() -> None:
    _, level = SyntheticSeries(LEVEL, REGULAR, start_us=START_US).take(86_400)
    hours = level.reshape(24, 3_600).mean(axis=1)

    assert hours.argmax() in {5, 6}
    assert hours.argmin() in {17, 18}
    assert hours.max() - hours.min() > 1.8 * SENSORS[LEVEL].spread


def test_a_block_has_the_chunks_of_every_series_in_key_order() -> None:
    streams = {
        series_id: SyntheticSeries(number, REGULAR, start_us=START_US)
        for number, series_id in ((0, 12), (1, 5))
    }

    rows = block_rows(streams, 3_610)

    hour = START_US // US_PER_HOUR
    assert [row[:2] for row in rows] == [(hour, 5), (hour, 12), (hour + 1, 5), (hour + 1, 12)]
    assert [row[4] for row in rows] == [3_600, 3_600, 10, 10]
    ts_us, value = SyntheticSeries(1, REGULAR, start_us=START_US).take(3_600)
    points = unpack([(*rows[0][:2], *rows[0][4:])])
    assert points.ts_us.tolist() == ts_us.tolist()
    assert points.value.tolist() == value.tolist()


def test_blocks_are_whole_days_and_a_period_is_covered_once() -> None:
    assert block_span_us(REGULAR, 100) == US_PER_DAY
    assert block_span_us(REGULAR, 1) == 11 * US_PER_DAY
    assert list(spans(1, 10, 4)) == [(1, 4), (4, 8), (8, 10)]


def test_how_far_a_share_is_is_told_with_the_time_that_is_left() -> None:
    assert progress_line(250, 1_000, 0.5) == "25.0% at 500 readings a second, 0 minutes left"
    assert progress_line(10**6, 10**9, 1.0).endswith(" 17 minutes left")
