"""The agent's loop: sample, keep, report, stop."""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from fieldstation.agent.connection import Connection, ConnectionEvent
from fieldstation.agent.logs import log_event
from fieldstation.agent.readings import Reading
from fieldstation.agent.reporter import Reporter, ReportLimits
from fieldstation.agent.spool import Spool
from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy, StationError

FIRST_SAMPLE_S_MAX = 1.0
DROP_WARNING_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """What bounds the agent's disk and its goodbye; a week of samples is a million readings."""

    spool_readings_max: int = 1_000_000
    spool_bytes_max: int = 256 * 1024 * 1024
    flush_timeout_s: float = 5.0
    report: ReportLimits = field(default_factory=ReportLimits)


class Metrics(Protocol):
    """What there is to report."""

    def sample(self) -> list[Reading]: ...

    def heartbeat(self) -> dict[str, object]: ...


class Stop:
    """Asks the loop to end; a second one ends it without further flushing."""


class Agent:
    """One device: one thread here, which owns the spool; network threads only deliver events.

    Raises ``Conflict`` or ``Busy`` at construction if the spool cannot be used.
    """

    def __init__(
        self,
        device_id: str,
        *,
        data_dir: Path,
        interval_s: float,
        metrics: Metrics,
        connect: Callable[[Callable[[ConnectionEvent], None]], Connection],
        clock: Clock,
        limits: AgentLimits | None = None,
        once: bool = False,
    ) -> None:
        self._limits = limits or AgentLimits()
        self._interval_s = interval_s
        self._metrics = metrics
        self._clock = clock
        self._once = once
        # Bounded by what fills it: messages in flight, one end per connection, signals.
        # Its put() may be called from a signal handler, unlike that of any lock-based queue.
        self._events: SimpleQueue[Stop | tuple[int, ConnectionEvent]] = SimpleQueue()
        self._spool = Spool(
            data_dir / f"agent-{device_id}.db",
            readings_max=self._limits.spool_readings_max,
            bytes_max=self._limits.spool_bytes_max,
        )
        self._reporter = Reporter(
            device_id,
            self._spool,
            connect=connect,
            deliver=self._events.put,
            heartbeat=metrics.heartbeat,
            clock=clock,
            limits=self._limits.report,
        )
        self._sample_at = clock.monotonic() + min(interval_s, FIRST_SAMPLE_S_MAX)
        self._flush_by = math.inf
        self._warn_at = -math.inf
        self._warned_dropped = self._spool.dropped

    def stop(self) -> None:
        """Ask the loop to end; safe from any thread and from signal handlers."""
        self._events.put(Stop())

    def run(self) -> None:
        """Report until stopped; with ``once`` raise ``Busy`` if the sample was not delivered."""
        with closing(self._spool), closing(self._reporter):
            while not self._finished():
                self._reporter.tick()
                self._take_next_event()
                self._sample_if_due()

    def _finished(self) -> bool:
        if self._stopping:
            flushed = self._reporter.settled or not self._reporter.opened
            return flushed or self._clock.monotonic() >= self._flush_by
        if not self._once or self._sample_at < math.inf:
            return False
        if self._reporter.problem is not None:
            raise Busy(
                f"The sample was not delivered: {self._reporter.problem};"
                " it waits in the spool for the next run."
            )
        return self._reporter.settled

    @property
    def _stopping(self) -> bool:
        return self._flush_by < math.inf

    def _sample_if_due(self) -> None:
        now = self._clock.monotonic()
        if now < self._sample_at:
            return
        self._store(self._metrics.sample())
        self._warn_of_drops(now)
        # After a suspension one sample is taken, not all the missed ones.
        self._sample_at = math.inf if self._once else max(self._sample_at + self._interval_s, now)

    def _store(self, readings: list[Reading]) -> None:
        timestamp = readings[0].timestamp
        if self._spool.dropped:
            dropped = float(self._spool.dropped)
            readings.append(Reading("readings_dropped", dropped, "readings", "spool", timestamp))
        try:
            self._spool.append(readings)
        except StationError as error:
            if self._once:
                raise
            log_event("error", "sample_lost", detail=error.detail, timestamp=timestamp)
        else:
            log_event("debug", "sampled", timestamp=timestamp, readings=len(readings))

    def _warn_of_drops(self, now: float) -> None:
        if self._spool.dropped > self._warned_dropped and now >= self._warn_at:
            self._warn_at = now + DROP_WARNING_INTERVAL_S
            self._warned_dropped = self._spool.dropped
            log_event(
                "warning",
                "readings_dropped",
                detail="The spool is full: the oldest readings make room for new ones.",
                dropped=self._spool.dropped,
                waiting=self._spool.readings,
            )

    def _take_next_event(self) -> None:
        due_at = min(self._sample_at, self._flush_by, self._reporter.due_at())
        # An hour, because no lock waits for ever.
        wait_s = min(max(due_at - self._clock.monotonic(), 0.0), 3600.0)
        try:
            event = self._events.get(timeout=wait_s)
        except Empty:
            return
        if isinstance(event, Stop):
            self._begin_to_stop()
        else:
            self._reporter.take(*event)

    def _begin_to_stop(self) -> None:
        wait_s = 0.0 if self._stopping else self._limits.flush_timeout_s
        self._flush_by = self._clock.monotonic() + wait_s
        self._sample_at = math.inf
        log_event("info", "agent_stopping", waiting=self._spool.readings)
