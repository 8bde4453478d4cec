"""Sliding windows count what lies within reach, here and on other nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.errors import Busy
from fieldstation.core.rates import RateLimit
from fieldstation.web.rate_counters import Count, RateCounters
from fieldstation.web.rate_sharing import RateSharing

pytestmark = pytest.mark.anyio

KEY = ("*", "address 192.0.2.1")
TEN = RateLimit(10, 60)
START_US = 1_700_000_040 * 1_000_000  # a window begins here


class Ticks:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.us = START_US

    def now_us(self) -> int:
        return self.us

    def move(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)


class Table:
    """What Redis does, in memory; can be away."""

    kind = "redis"

    def __init__(self) -> None:
        self.totals: dict[tuple[object, ...], int] = {}
        self.away = False
        self.closed = False

    async def add(self, counts: list[Count]) -> list[int]:
        if self.away:
            raise Busy("away")
        totals = []
        for count in counts:
            key = (count.key, count.window_s, count.window)
            self.totals[key] = self.totals.get(key, 0) + count.added
            totals.append(self.totals[key])
        return totals

    async def close(self) -> None:
        self.closed = True


def take(counters: RateCounters, times: int) -> int:
    return sum(counters.hit(KEY, TEN).allowed for _ in range(times))


def test_no_more_than_the_limit_pass_and_the_answer_says_when_to_come_back() -> None:
    ticks = Ticks()
    counters = RateCounters(ticks.now_us, keys_max=10)
    assert [counters.hit(KEY, TEN).remaining for _ in range(10)] == list(range(9, -1, -1))
    refused = counters.hit(KEY, TEN)
    assert (refused.allowed, refused.limit, refused.remaining) == (False, 10, 0)
    assert refused.reset_s == START_US // 1_000_000 + 60
    ticks.move(refused.retry_after_s - 1)
    assert not counters.hit(KEY, TEN).allowed
    ticks.move(1)
    assert counters.hit(KEY, TEN).allowed


def test_the_window_before_counts_by_the_part_within_reach() -> None:
    ticks = Ticks()
    counters = RateCounters(ticks.now_us, keys_max=10)
    assert take(counters, 20) == 10
    ticks.move(90)
    assert take(counters, 20) == 5
    ticks.move(600)
    assert take(counters, 20) == 10


def test_keys_and_names_do_not_mix() -> None:
    counters = RateCounters(Ticks().now_us, keys_max=10)
    assert take(counters, 20) == 10
    assert counters.hit(("*", "address 192.0.2.2"), TEN).allowed
    assert counters.hit(("login", KEY[1]), TEN).allowed


def test_the_key_unseen_for_longest_is_forgotten_when_there_are_too_many() -> None:
    counters = RateCounters(Ticks().now_us, keys_max=3)
    for name in ("a", "b", "a", "c", "d"):
        counters.hit(("*", name), TEN)
    assert len(counters) == 3
    assert counters.hit(("*", "a"), TEN).remaining == 7
    assert counters.hit(("*", "b"), TEN).remaining == 9


def test_a_clock_that_jumps_back_locks_nobody_out() -> None:
    ticks = Ticks()
    counters = RateCounters(ticks.now_us, keys_max=10)
    take(counters, 20)
    ticks.move(-3600)
    assert counters.hit(KEY, TEN).allowed


@given(st.lists(st.floats(min_value=0, max_value=40), max_size=80))
def test_never_more_than_twice_the_limit_in_any_window_and_no_starvation(
    pauses: list[float],
) -> None:
    ticks = Ticks()
    counters = RateCounters(ticks.now_us, keys_max=10)
    passed: list[int] = []
    for pause in pauses:
        ticks.move(pause)
        if counters.hit(KEY, TEN).allowed:
            passed.append(ticks.us)
    for at in passed:
        assert sum(at - 60_000_000 < other <= at for other in passed) < 2 * TEN.requests
    ticks.move(120)
    assert take(counters, 20) == 10


async def test_nodes_share_one_limit() -> None:
    ticks, table = Ticks(), Table()
    one, two = (RateCounters(ticks.now_us, keys_max=10) for _ in range(2))
    sharing = [RateSharing(node, table) for node in (one, two)]
    assert take(one, 7) == 7
    assert take(two, 2) == 2
    for node in (*sharing, *sharing):
        await node.exchange()
    assert take(one, 1) == 1
    for node in sharing:
        take(two, 1)
        await node.exchange()
    assert take(two, 9) <= 1
    for node in sharing:
        await node.exchange()
    assert take(one, 5) == take(two, 5) == 0


async def test_a_node_alone_counts_on_and_catches_up_later() -> None:
    ticks, table = Ticks(), Table()
    counters = RateCounters(ticks.now_us, keys_max=10)
    sharing = RateSharing(counters, table)
    assert sharing.status == ("ok", "redis")
    table.away = True
    assert take(counters, 4) == 4
    await sharing.exchange()
    assert sharing.status == ("degraded", "memory")
    assert not sharing.shares_as_told
    assert take(counters, 20) == 6
    table.away = False
    await sharing.exchange()
    assert sharing.status == ("ok", "redis")
    assert list(table.totals.values()) == [10]
    await sharing.close()
    assert table.closed


async def test_more_keys_than_fit_into_one_exchange_are_shared_in_several() -> None:
    ticks, table = Ticks(), Table()
    counters = RateCounters(ticks.now_us, keys_max=5_000)
    sharing = RateSharing(counters, table)
    for number in range(2_500):
        counters.hit(("*", str(number)), TEN)
    await sharing.exchange()
    assert sum(table.totals.values()) == len(table.totals) == 2_500
    assert counters.take_unshared(10) == []
