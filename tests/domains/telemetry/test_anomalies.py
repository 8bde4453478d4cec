"""What does not fit its series is flagged; what merely changes its ways soon is not."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.domains.telemetry.anomalies import FLAG_SCORE, WARM_UP_READINGS, Detector


def steady(count: int, *, centre: float = 20.0, spread: float = 0.5, seed: int = 7) -> list[float]:
    random = Random(seed)  # noqa: S311 - readings, not secrets
    return [random.gauss(centre, spread) for _ in range(count)]


def flags(detector: Detector, values: list[float]) -> list[bool]:
    return [detector.observe(value) > FLAG_SCORE for value in values]


def test_nothing_is_flagged_while_it_learns() -> None:
    assert not any(flags(Detector(), [0.0, 1e9] * (WARM_UP_READINGS // 2)))


def test_a_spike_in_a_steady_series_is_flagged_and_its_neighbours_are_not() -> None:
    detector = Detector()
    assert not any(flags(detector, steady(500)))
    assert flags(detector, [20.0, 35.0, 20.0]) == [False, True, False]
    assert not any(flags(detector, steady(100, seed=8)))


@pytest.mark.parametrize("spread", [0.01, 0.5, 50.0])
def test_a_normal_series_is_hardly_ever_flagged(spread: float) -> None:
    found = flags(Detector(), steady(20_000, spread=spread))
    assert sum(found) <= 20


def test_one_huge_value_does_not_hide_the_next() -> None:
    detector = Detector()
    flags(detector, steady(500))
    assert flags(detector, [1e12, 40.0, 20.0]) == [True, True, False]


@pytest.mark.parametrize("constant", [0.0, 1.0, 20.0, -5.0, 1e6])
def test_a_constant_is_never_flagged(constant: float) -> None:
    assert not any(flags(Detector(), [constant] * 2_000))


@pytest.mark.parametrize("constant", [0.0, 20.0, 1e6])
def test_noise_of_the_last_digit_is_not_flagged(constant: float) -> None:
    values = [constant, math.nextafter(constant, math.inf)] * 1_000
    assert not any(flags(Detector(), values))


@pytest.mark.parametrize(
    ("before", "after"), [(20.0, 30.0), (0.0, 1.0), (1013.0, 0.0), (0.0, 500.0)]
)
def test_a_step_is_flagged_at_first_and_accepted_in_the_end(before: float, after: float) -> None:
    detector = Detector()
    flags(detector, [before] * 200)
    found = flags(detector, [after] * 2_000)
    assert found[0]
    assert sum(found) <= 150, f"{sum(found)} readings after a step were flagged"
    assert not any(found[500:])


def test_a_ramp_and_a_daily_wave_are_not_flagged() -> None:
    assert not any(flags(Detector(), [n * 0.1 for n in range(5_000)]))
    wave = [20 + 8 * math.sin(n / 1440 * 2 * math.pi) for n in range(10_000)]
    assert not any(flags(Detector(), wave))


def test_the_expected_range_is_where_nothing_would_be_flagged() -> None:
    detector = Detector()
    flags(detector, steady(500))
    low, high = detector.expected_range()
    assert low < 20 < high
    assert flags(detector, [high + 1])[0]


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=WARM_UP_READINGS + 1, max_size=60))
def test_every_score_is_a_number_that_can_be_stored(values: list[float]) -> None:
    detector = Detector()
    scores = [detector.observe(value) for value in values]
    assert all(math.isfinite(score) and score >= 0 for score in scores)


def test_the_largest_numbers_do_not_blind_it_for_good() -> None:
    detector = Detector()
    flags(detector, [1.7e308, -1.7e308] * 20)
    flags(detector, [20.0] * 3_000)
    assert math.isfinite(detector.centre)
    assert math.isfinite(detector.deviation)
