"""The agent's loop against a real broker, with the test as the host that is measured."""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from fieldstation.agent.connection import Station, open_connection
from fieldstation.agent.readings import Reading
from fieldstation.agent.reporter import ReportLimits
from fieldstation.agent.run import Agent, AgentLimits
from fieldstation.core.clock import SystemClock, us_to_rfc3339
from fieldstation.core.errors import Busy
from tests.agent.broker import Broker, free_port
from tests.agent.processes import DEVICE_ID, DEVICE_KEY
from tests.agent.tap import Series, Tap
from tests.wait_until import wait_until_blocking

QUICK = ReportLimits(reconnect_first_s=0.05, reconnect_max_s=0.2)


class JournalledHost:
    """Two readings a sample, every one written down."""

    def __init__(self, *, unit: str = "%") -> None:
        self.journal: list[Series] = []
        self._unit = unit

    def sample(self) -> list[Reading]:
        timestamp = us_to_rfc3339(SystemClock().now_us())
        readings = [
            Reading(name, float(len(self.journal)), self._unit, "host", timestamp)
            for name in ("cpu_usage", "memory_usage")
        ]
        self.journal += [Series(item[0], item[3], item[4], item[1]) for item in readings]
        return readings

    def heartbeat(self) -> dict[str, object]:
        return {"uptime_s": 1, "timestamp": us_to_rfc3339(SystemClock().now_us())}


def make_agent(
    directory: Path,
    port: int,
    host: JournalledHost,
    *,
    limits: AgentLimits | None = None,
    interval_s: float = 0.02,
    once: bool = False,
) -> Agent:
    station = Station(host="127.0.0.1", port=port, tls=None, device_id=DEVICE_ID, key=DEVICE_KEY)
    return Agent(
        DEVICE_ID,
        data_dir=directory / "spool",
        interval_s=interval_s,
        metrics=host,
        connect=lambda report: open_connection(station, report),
        clock=SystemClock(),
        limits=limits or AgentLimits(report=QUICK),
        once=once,
    )


@contextlib.contextmanager
def running(agent: Agent) -> Iterator[threading.Thread]:
    """Run it in a thread; its failure is the test's."""
    failures: SimpleQueue[BaseException] = SimpleQueue()

    def run() -> None:
        try:
            agent.run()
        except Busy as error:
            failures.put(error)

    thread = threading.Thread(target=run, name="agent")
    thread.start()
    try:
        yield thread
    finally:
        agent.stop()
        thread.join(10)
    assert not thread.is_alive()
    assert failures.empty(), failures.get()


def spooled(directory: Path) -> tuple[int, int]:
    """Return what an ended agent left behind: readings that wait, readings dropped."""
    with contextlib.closing(sqlite3.connect(directory / "spool" / f"agent-{DEVICE_ID}.db")) as db:
        [(waiting,)] = db.execute("SELECT coalesce(sum(readings), 0) FROM sample")
        [(dropped,)] = db.execute("SELECT value FROM tally WHERE name = 'dropped'")
    return waiting, dropped


def test_what_arrives_is_what_was_sampled_and_nothing_waits_after_the_flush(
    tmp_path: Path,
) -> None:
    host = JournalledHost()
    with Broker(tmp_path / "broker") as broker, Tap(broker.port) as tap:
        with running(make_agent(tmp_path, tap.port, host)):
            wait_until_blocking(lambda: len(host.journal) > 30)
        assert set(tap.acknowledged_readings()) == set(host.journal)
        topics = {message.topic for message in tap.published}
    assert topics == {f"devices/{DEVICE_ID}/heartbeat", f"devices/{DEVICE_ID}/readings"}
    assert spooled(tmp_path) == (0, 0)


def test_broker_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    host = JournalledHost()
    broker = Broker(tmp_path / "broker")
    with broker, Tap(broker.port) as tap:
        with running(make_agent(tmp_path, tap.port, host)):
            for _ in range(3):
                arrived = len(tap.acknowledged)
                wait_until_blocking(lambda n=arrived: len(tap.acknowledged) > n + 3)
                broker.kill()
                sampled = len(host.journal)
                wait_until_blocking(lambda n=sampled: len(host.journal) > n + 20)
                broker.start()
            away = len(host.journal)
            wait_until_blocking(
                lambda: set(host.journal[:away]) <= set(tap.acknowledged_readings())
            )
        assert set(tap.acknowledged_readings()) == set(host.journal)


def test_lost_acknowledgements_bring_the_same_values_again(tmp_path: Path) -> None:
    host = JournalledHost()
    with Broker(tmp_path / "broker") as broker, Tap(broker.port) as tap:
        tap.lose_acknowledgements = 3
        with running(make_agent(tmp_path, tap.port, host)):
            wait_until_blocking(lambda: tap.connections > 3 and len(tap.acknowledged) > 3)
        assert set(tap.acknowledged_readings()) == set(host.journal)


def test_full_spool_drops_the_oldest_and_reports_how_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = JournalledHost()
    broker = Broker(tmp_path / "broker")
    limits = AgentLimits(spool_readings_max=30, report=QUICK)
    with (
        contextlib.ExitStack() as stack,
        Tap(broker.port) as tap,
        running(make_agent(tmp_path, tap.port, host, limits=limits)),
    ):
        wait_until_blocking(lambda: len(host.journal) > 80)
        stack.enter_context(broker)
        wait_until_blocking(lambda: "readings_dropped" in types(tap))
        wait_until_blocking(lambda: host.journal[79] in tap.acknowledged_readings())
        sampled = len(host.journal)
        wait_until_blocking(lambda: len(host.journal) > sampled + 10)
    waiting, dropped = spooled(tmp_path)
    arrived = set(tap.acknowledged_readings())
    counts = [item for item in arrived if item.sensor_type == "readings_dropped"]
    assert waiting == 0
    assert max(item.value for item in counts) == dropped > 0
    missing = set(host.journal) - arrived
    oldest = [item for item in host.journal if item in missing]
    assert oldest == host.journal[: len(oldest)], "not the oldest were dropped"
    # Reports of earlier drops may themselves have been dropped: they are readings like any other.
    assert len(missing) <= dropped
    assert "The spool is full" in caplog.text


def types(tap: Tap) -> set[str]:
    return {reading.sensor_type for reading in tap.acknowledged_readings()}


def test_wrong_key_is_retried_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = JournalledHost()
    with (
        caplog.at_level(logging.INFO),
        Broker(tmp_path / "broker", passwords={DEVICE_ID: "another-key"}) as broker,
        Tap(broker.port) as tap,
        running(make_agent(tmp_path, tap.port, host)),
    ):
        wait_until_blocking(lambda: tap.connections > 3)
    assert caplog.text.count("the station refused the device's credentials") == 1
    assert spooled(tmp_path)[0] == len(host.journal)


def test_once_delivers_the_backlog_and_one_sample(tmp_path: Path) -> None:
    host = JournalledHost()
    with running(make_agent(tmp_path, free_port(), host)):
        wait_until_blocking(lambda: len(host.journal) > 10)
    backlog = len(host.journal)
    with Broker(tmp_path / "broker") as broker, Tap(broker.port) as tap:
        make_agent(tmp_path, tap.port, host, once=True).run()
        assert set(tap.acknowledged_readings()) == set(host.journal)
    assert len(host.journal) == backlog + 2


def test_once_fails_with_the_reason_and_keeps_the_sample(tmp_path: Path) -> None:
    host = JournalledHost()
    agent = make_agent(tmp_path, free_port(), host, once=True)
    with pytest.raises(Busy, match=r"cannot reach .* Connection refused; it waits in the spool"):
        agent.run()
    assert spooled(tmp_path) == (2, 0)


def test_second_stop_ends_without_waiting_for_a_silent_station(tmp_path: Path) -> None:
    host = JournalledHost()
    broker = Broker(tmp_path / "broker")
    limits = AgentLimits(flush_timeout_s=600, report=QUICK)
    with broker, Tap(broker.port) as tap:
        agent = make_agent(tmp_path, tap.port, host, limits=limits)
        with running(agent):
            wait_until_blocking(lambda: len(tap.acknowledged) > 2)
            tap.hold()
            sampled = len(host.journal)
            wait_until_blocking(lambda: len(host.journal) > sampled + 4)
            agent.stop()
    waiting, _ = spooled(tmp_path)
    assert waiting > 0


def test_flush_is_bounded_in_time(tmp_path: Path) -> None:
    host = JournalledHost()
    limits = AgentLimits(flush_timeout_s=0.1, report=QUICK)
    with (
        Broker(tmp_path / "broker") as broker,
        Tap(broker.port) as tap,
        running(make_agent(tmp_path, tap.port, host, limits=limits)),
    ):
        wait_until_blocking(lambda: len(tap.acknowledged) > 2)
        tap.hold()
        sampled = len(host.journal)
        wait_until_blocking(lambda: len(host.journal) > sampled + 4)
    assert spooled(tmp_path)[0] > 0


def fill_disk(agent: Agent) -> sqlite3.Connection:
    """Let SQLite itself say that the disk is full."""
    db = agent._spool._db  # noqa: SLF001
    assert db is not None
    [(pages,)] = db.execute("PRAGMA page_count")
    db.execute(f"PRAGMA max_page_count = {pages}")
    return db


def test_full_disk_is_told_and_sampling_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = JournalledHost(unit="%" * 20_000)
    agent = make_agent(tmp_path, free_port(), host)
    fill_disk(agent)
    with running(agent):
        wait_until_blocking(lambda: caplog.text.count("sample_lost") > 1, timeout_s=20)
    assert "disk is full" in caplog.text


def test_once_fails_on_a_full_disk(tmp_path: Path) -> None:
    host = JournalledHost(unit="%" * 20_000)
    agent = make_agent(tmp_path, free_port(), host, once=True)
    fill_disk(agent)
    with pytest.raises(Busy, match="full"):
        agent.run()
