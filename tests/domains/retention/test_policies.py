"""Which rule holds for a series, and what is too old under it."""

from datetime import timedelta

import pytest

from fieldstation.core.clock import instant_to_us
from fieldstation.domains.retention.policies import (
    ALL,
    FOREVER,
    US_PER_DAY,
    Kept,
    Policy,
    Rule,
    cutoffs,
)
from tests.contracts.reading_databases import START

DEFAULT = Kept(7, 70)
TODAY_US = instant_to_us(START) // US_PER_DAY * US_PER_DAY


def policy(*rules: Rule, **members: set[str]) -> Policy:
    return Policy(1, START, rules, members, DEFAULT)


EVERYTHING = Rule(None, None, Kept(1, 10))
TEMPERATURE = Rule("temperature", None, Kept(2, 20))
LAB = Rule(None, "lab", Kept(3, 30))
LAB_TEMPERATURE = Rule("temperature", "lab", Kept(4, 40))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([EVERYTHING, TEMPERATURE, LAB, LAB_TEMPERATURE], LAB_TEMPERATURE.kept),
        ([EVERYTHING, TEMPERATURE, LAB], LAB.kept),
        ([EVERYTHING, TEMPERATURE], TEMPERATURE.kept),
        ([EVERYTHING], EVERYTHING.kept),
        ([], DEFAULT),
    ],
)
def test_the_rule_that_says_most_holds_whatever_the_order(
    rules: list[Rule], expected: Kept
) -> None:
    for listed in (rules, rules[::-1]):
        assert policy(*listed, lab={"a", "b"}).kept("a", "temperature") == expected


def test_a_rule_holds_for_nothing_else() -> None:
    own = policy(TEMPERATURE, LAB, LAB_TEMPERATURE, lab={"a"})
    assert own.kept("a", "humidity") == LAB.kept
    assert own.kept("b", "temperature") == TEMPERATURE.kept
    assert own.kept("b", "humidity") == DEFAULT


def test_of_several_groups_the_longest_keeps_readings_and_rollups_each() -> None:
    rules = [
        Rule(None, "lab", Kept(3, 300)),
        Rule(None, "roof", Kept(30, 100)),
        Rule(None, "attic", Kept(5, None)),
    ]
    own = policy(*rules, lab={"a", "b"}, roof={"a", "b"}, attic={"b"})
    assert own.kept("a", "t") == Kept(30, 300)
    assert own.kept("b", "t") == Kept(30, None)


def test_a_shorter_rule_for_type_and_group_goes_before_a_longer_one_for_the_group() -> None:
    own = policy(Rule(None, "roof", FOREVER), Rule("t", "lab", Kept(1, 1)), lab={"a"}, roof={"a"})
    assert own.kept("a", "t") == Kept(1, 1)


@pytest.mark.parametrize("hours", [0, 11.99, -12])
def test_today_and_so_many_whole_days_before_it_are_kept(hours: float) -> None:
    now_us = instant_to_us(START + timedelta(hours=hours))
    before = cutoffs(Kept(1, 30), now_us)
    assert before == (TODAY_US - US_PER_DAY, TODAY_US - 30 * US_PER_DAY)
    assert cutoffs(Kept(1, None), now_us) == (TODAY_US - US_PER_DAY, None)
    assert cutoffs(FOREVER, now_us) == ALL


def test_whether_anything_is_ever_deleted() -> None:
    assert policy().deletes
    assert not Policy(1, START, (), {}, FOREVER).deletes
    assert not Policy(1, START, (Rule("t", None, FOREVER),), {}, FOREVER).deletes
    assert Policy(1, START, (Rule("t", None, Kept(None, 9)),), {}, FOREVER).deletes
    assert not Policy(0, None, (), {}, FOREVER).deletes


def test_a_list_is_in_force_from_its_instant_on() -> None:
    assert policy().is_in_force(START)
    assert not policy().is_in_force(START - timedelta(microseconds=1))
    assert Policy(0, None, (), {}, DEFAULT).is_in_force(START)
