"""The reporter's decisions, step by step, on a clock that the test moves."""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.agent.connection import Acknowledged, ConnectionEvent, Lost, Opened, Refused
from fieldstation.agent.readings import Reading
from fieldstation.agent.reporter import BackOff, Reporter, ReportLimits
from fieldstation.agent.spool import Spool, SpooledSample
from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Busy

LIMITS = ReportLimits(
    batch_readings_max=4,
    inflight_messages_max=3,
    readings_per_s_max=8,
    heartbeat_interval_s=30,
    acknowledge_timeout_s=60,
    reconnect_first_s=1,
    reconnect_max_s=30,
)


class ScriptedConnection:
    """The simulated twin of a connection: keeps what was published, says what the test says."""

    def __init__(self, report: Callable[[ConnectionEvent], None]) -> None:
        self.report = report
        self.published: list[tuple[str, list[int]]] = []
        self.ended_by = ""

    def publish(self, topic: str, payload: bytes) -> int:
        body = json.loads(payload)
        self.published.append((topic, [item["value"] for item in body.get("readings", [])]))
        return len(self.published)

    def close(self) -> None:
        self.ended_by = "close"

    def abort(self) -> None:
        self.ended_by = "abort"

    def batches(self) -> list[list[int]]:
        return [values for topic, values in self.published if topic == "devices/d1/readings"]


class Bench:
    """A reporter with everything around it in the test's hands."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.connections: list[ScriptedConnection] = []
        self.events: deque[tuple[int, ConnectionEvent]] = deque()
        self.reporter = self.report_from(spool)

    def report_from(self, spool: object) -> Reporter:
        return Reporter(
            "d1",
            spool,  # pyrefly: ignore[bad-argument-type]
            connect=self.connect,
            deliver=self.events.append,
            heartbeat=lambda: {"uptime_s": 1},
            clock=self.clock,
            limits=LIMITS,
        )

    def connect(self, report: Callable[[ConnectionEvent], None]) -> ScriptedConnection:
        self.connections.append(ScriptedConnection(report))
        return self.connections[-1]

    @property
    def connection(self) -> ScriptedConnection:
        return self.connections[-1]

    def sample(self, *numbers: int) -> None:
        for number in numbers:
            self.spool.append([Reading("cpu_usage", number, "%", "cpu", "t")] * 2)

    def say(self, *events: ConnectionEvent) -> None:
        for event in events:
            self.connection.report(event)
        self.settle()

    def settle(self, seconds: float = 0.0) -> None:
        """Let time pass, deliver what was said and do all that is due."""
        self.clock.advance(seconds)
        while self.events:
            self.reporter.take(*self.events.popleft())
        while self.reporter.due_at() <= self.clock.monotonic():
            self.reporter.tick()

    def open(self) -> None:
        self.settle(LIMITS.reconnect_max_s)
        self.say(Opened())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    spool = Spool(tmp_path / "spool.db", readings_max=1_000, bytes_max=2**20)
    yield Bench(spool)
    spool.close()


def test_backlog_goes_out_oldest_first_in_bounded_batches_at_a_bounded_rate(bench: Bench) -> None:
    bench.sample(1, 2, 3, 4, 5)
    bench.open()
    assert bench.connection.published[0] == ("devices/d1/heartbeat", [])
    assert bench.connection.batches() == [[1, 1, 2, 2]]
    bench.settle(0.4)
    assert len(bench.connection.batches()) == 1
    bench.settle(0.1)
    assert bench.connection.batches() == [[1, 1, 2, 2], [3, 3, 4, 4]]


def test_messages_in_flight_are_bounded_and_free_their_place_by_acknowledgement(
    bench: Bench,
) -> None:
    bench.sample(*range(8))
    bench.open()
    bench.settle(10)
    assert len(bench.connection.published) == LIMITS.inflight_messages_max
    bench.say(Acknowledged(2))
    bench.settle(10)
    assert len(bench.connection.batches()) == 3


def test_sample_leaves_the_spool_only_when_acknowledged(bench: Bench) -> None:
    bench.sample(1)
    bench.open()
    assert (bench.spool.readings, bench.reporter.settled) == (2, False)
    bench.say(Acknowledged(1), Acknowledged(2))
    assert (bench.spool.readings, bench.reporter.settled) == (0, True)


def test_unacknowledged_samples_go_out_again_over_the_next_connection(bench: Bench) -> None:
    bench.sample(1, 2)
    bench.open()
    bench.say(Lost("cable"))
    assert not bench.reporter.opened
    bench.open()
    assert len(bench.connections) == 2
    assert bench.connection.batches() == [[1, 1, 2, 2]]


def test_station_that_never_acknowledges_is_left(bench: Bench) -> None:
    bench.sample(1)
    bench.open()
    bench.settle(LIMITS.acknowledge_timeout_s)
    assert bench.connections[0].ended_by == "abort"
    assert bench.reporter.problem == "no acknowledgement within 60 s"


def test_idle_connection_stays_and_beats(bench: Bench) -> None:
    bench.open()
    for number in range(1, 6):
        bench.say(Acknowledged(number))
        bench.settle(LIMITS.heartbeat_interval_s)
    assert [topic for topic, _ in bench.connection.published] == ["devices/d1/heartbeat"] * 6
    assert len(bench.connections) == 1


def test_word_of_a_former_connection_changes_nothing(bench: Bench) -> None:
    bench.sample(1)
    bench.open()
    former = bench.connection
    bench.say(Lost("cable"))
    bench.open()
    former.report(Acknowledged(2))
    former.report(Lost("again"))
    bench.settle()
    assert (bench.spool.readings, bench.reporter.opened) == (2, True)


def test_unknown_acknowledgement_is_harmless(bench: Bench) -> None:
    bench.open()
    bench.say(Acknowledged(99))
    assert bench.reporter.opened


def test_refused_credentials_are_retried_slowly_and_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        bench.settle()
        for attempt in range(1, 4):
            bench.say(Refused("Not authorized", credentials=True))
            bench.settle(LIMITS.reconnect_max_s / 2 - 0.1)
            assert len(bench.connections) == attempt
            bench.settle(LIMITS.reconnect_max_s / 2 + 0.1)
    assert caplog.text.count("check --device-id and the key in --key-file") == 1


def test_refusal_for_another_reason_is_retried_like_a_lost_connection(bench: Bench) -> None:
    bench.settle()
    bench.say(Refused("Server unavailable", credentials=False))
    assert bench.reporter.problem == "the station refused the connection: Server unavailable"
    bench.settle(LIMITS.reconnect_first_s)
    assert len(bench.connections) == 2


def test_leaving_is_polite_only_where_the_station_is_there(bench: Bench) -> None:
    bench.reporter.close()
    bench.settle()
    bench.reporter.close()
    assert bench.connection.ended_by == "abort"
    bench.open()
    bench.reporter.close()
    assert bench.connection.ended_by == "close"


def test_samples_dropped_meanwhile_are_no_reason_to_wait(bench: Bench) -> None:
    bench.sample(1)
    bench.spool.remove([bench.spool.last_id])
    bench.open()
    bench.say(Acknowledged(1))
    assert bench.reporter.settled
    assert bench.connection.batches() == []


class FailingSpool:
    """A spool on a disk that fails until it is mended."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.broken = False

    @property
    def last_id(self) -> int:
        return self._spool.last_id

    def oldest(self, readings_max: int, *, after_id: int = 0) -> list[SpooledSample]:
        self._check()
        return self._spool.oldest(readings_max, after_id=after_id)

    def remove(self, ids: list[int]) -> None:
        self._check()
        self._spool.remove(ids)

    def _check(self) -> None:
        if self.broken:
            raise Busy("The spool does not work.")


def test_failing_disk_delays_reading_and_removing_but_loses_nothing(bench: Bench) -> None:
    spool = FailingSpool(bench.spool)
    bench.reporter = bench.report_from(spool)
    bench.sample(1, 2)
    spool.broken = True
    bench.open()
    assert bench.connection.batches() == []
    spool.broken = False
    bench.settle(1)
    assert bench.connection.batches() == [[1, 1, 2, 2]]
    spool.broken = True
    bench.say(Acknowledged(2))
    assert bench.spool.readings == 4
    spool.broken = False
    bench.say(Acknowledged(1))
    assert bench.spool.readings == 0


@given(draw=st.floats(0, 1), attempts=st.integers(1, 60))
def test_back_off_grows_to_its_ceiling_and_never_beyond(draw: float, attempts: int) -> None:
    back_off = BackOff(first_s=0.5, max_s=30, draw=lambda: draw)
    delays = [back_off.next_delay_s() for _ in range(attempts)]
    assert delays == sorted(delays)
    assert delays[0] == 0.5 * draw
    assert delays[-1] <= 30 * draw
    assert 15 <= back_off.longest_delay_s() <= 30
    back_off.reset()
    assert back_off.next_delay_s() == delays[0]
