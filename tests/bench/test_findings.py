"""Percentiles, ratios and verdicts come out as the rules of the benchmarks say."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from bench.findings import (
    Durability,
    Measurement,
    Side,
    Skip,
    Target,
    Verdict,
    compare,
    interleave,
)
from bench.spread import percentile, ratios, spread, summarise_latencies
from bench.table import number_text, print_table

CPU = {"server": 0.97, "load": 0.3, "others": 0.02}


def side(name: str, *figures: float) -> Side:
    rounds = [Measurement(figure=figure, detail={"cpu": CPU}) for figure in figures]
    return Side(name, Durability.FSYNC, "requests/s", rounds)


def test_percentile_is_the_nearest_rank() -> None:
    ordered = [float(number) for number in range(1, 101)]

    assert percentile(ordered, 0.5) == 50
    assert percentile(ordered, 0.99) == 99
    assert percentile(ordered, 1.0) == 100
    assert percentile([4.0], 0.01) == 4


def test_latencies_are_reported_in_microseconds_and_absent_without_answers() -> None:
    latencies = summarise_latencies([0.001, 0.002, 0.003])

    assert latencies is not None
    assert (latencies.p50_us, latencies.max_us) == (2_000, 3_000)
    assert summarise_latencies([]) is None


def test_spread_has_the_median_and_both_ends() -> None:
    middle = spread([3, 1, 2])

    assert (middle.median, middle.lowest, middle.highest) == (2, 1, 3)


def test_ratios_are_taken_round_by_round_and_need_as_many_rounds_on_both_sides() -> None:
    assert ratios([1, 8], [2, 4]) == [0.5, 2]
    with pytest.raises(ValueError, match="longer"):
        ratios([1], [1, 2])


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (1.0, Verdict.STRETCH),
        (0.6, Verdict.MET),
        (0.4, Verdict.FIRST_STEP),
        (0.39, Verdict.MISSED),
    ],
)
def test_a_lower_bound_is_judged_from_the_stretch_down(figure: float, verdict: Verdict) -> None:
    assert Target(bound=0.6, stretch=1.0, first_step=0.4).judge(figure) == verdict


@pytest.mark.parametrize(("figure", "verdict"), [(2.0, Verdict.MET), (2.1, Verdict.MISSED)])
def test_an_upper_bound_is_missed_above_it(figure: float, verdict: Verdict) -> None:
    assert Target(bound=2.0, at_most=True).judge(figure) == verdict


def test_rounds_alternate_between_the_sides() -> None:
    order: list[str] = []

    def measuring(name: str) -> Callable[[], Measurement]:
        def measure() -> Measurement:
            order.append(name)
            return Measurement(figure=len(order), detail={})

        return measure

    measured = interleave(2, {"a": measuring("a"), "b": measuring("b")})

    assert order == ["a", "b", "a", "b"]
    assert [part.figure for part in measured["b"]] == [2, 4]


def test_the_table_shows_ratio_class_verdict_limit_and_what_was_skipped() -> None:
    output = io.StringIO()
    finding = compare(
        "P5",
        "one reading a request",
        ours=side("station", 5_000, 6_000),
        peer=side("hello world", 10_000, 10_000),
        target=Target(bound=0.6, first_step=0.4),
    )
    skip = Skip(benchmark="P6", peer="amqtt", reason="not installed")

    print_table(Console(file=output), [finding], [skip], rounds=2)

    text = output.getvalue()
    assert "station [a]" in text
    assert "0.55 (0.5 - 0.6)" in text
    assert "first step met" in text
    assert "limited by the server's core" in text
    assert "skipped P6 against amqtt: not installed" in text


@pytest.mark.parametrize(
    ("number", "text"), [(0.61234, "0.612"), (1_234_567.8, "1,234,568"), (99.94, "99.9")]
)
def test_numbers_have_three_digits_or_thousands(number: float, text: str) -> None:
    assert number_text(number) == text
