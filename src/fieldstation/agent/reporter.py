"""Brings what waits in the spool to the station, over one connection after another."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fieldstation.agent.connection import (
    Acknowledged,
    Connection,
    ConnectionEvent,
    Lost,
    Opened,
    Refused,
)
from fieldstation.agent.logs import log_event
from fieldstation.agent.readings import readings_message
from fieldstation.agent.spool import SpooledSample
from fieldstation.core.clock import Clock
from fieldstation.core.errors import StationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLimits:
    """How much at once, how fast, how patient."""

    batch_readings_max: int = 500
    inflight_messages_max: int = 8
    readings_per_s_max: float = 5_000
    heartbeat_interval_s: float = 30
    acknowledge_timeout_s: float = 60
    reconnect_first_s: float = 0.5
    reconnect_max_s: float = 30


class Queue(Protocol):
    """What the reporter needs of the spool."""

    @property
    def last_id(self) -> int: ...

    def oldest(self, readings_max: int, *, after_id: int = 0) -> list[SpooledSample]: ...

    def remove(self, ids: list[int]) -> None: ...


class BackOff:
    """Exponential back-off with full jitter: any delay up to a ceiling that doubles."""

    def __init__(
        self, *, first_s: float, max_s: float, draw: Callable[[], float] = random.random
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._draw = draw
        self._ceiling_s = first_s

    def next_delay_s(self) -> float:
        ceiling_s, self._ceiling_s = self._ceiling_s, min(self._ceiling_s * 2, self._max_s)
        return self._draw() * ceiling_s

    def longest_delay_s(self) -> float:
        """Return a delay between half the maximum and all of it, for what waiting rarely mends."""
        return (0.5 + self._draw() / 2) * self._max_s

    def reset(self) -> None:
        self._ceiling_s = self._first_s


class Reporter:
    """A state machine without threads: ``tick`` when ``due_at`` has come, ``take`` each event.

    A sample leaves the spool only after the station has acknowledged it. What was in flight when a
    connection ends is sent again over the next one; the station knows it by its timestamps.
    """

    def __init__(
        self,
        device_id: str,
        spool: Queue,
        *,
        connect: Callable[[Callable[[ConnectionEvent], None]], Connection],
        deliver: Callable[[tuple[int, ConnectionEvent]], None],
        heartbeat: Callable[[], dict[str, object]],
        clock: Clock,
        limits: ReportLimits,
    ) -> None:
        self._topic = f"devices/{device_id}"
        self._spool = spool
        self._connect = connect
        self._deliver = deliver
        self._heartbeat = heartbeat
        self._clock = clock
        self._limits = limits
        self._back_off = BackOff(first_s=limits.reconnect_first_s, max_s=limits.reconnect_max_s)
        self._connection: Connection | None = None
        self._connection_number = 0
        self._opened = False
        self._connect_at = -math.inf
        self._heartbeat_at = self._send_at = 0.0
        self._acknowledge_by = math.inf
        self._inflight: dict[int, list[int]] = {}
        self._sent_through_id = 0
        self._acknowledged_ids: list[int] = []
        self.problem: str | None = None

    @property
    def opened(self) -> bool:
        """Whether the station has accepted the present connection."""
        return self._opened

    @property
    def settled(self) -> bool:
        """Whether all that was spooled is sent and acknowledged over the present connection."""
        return self._opened and not self._inflight and self._sent_through_id >= self._spool.last_id

    def due_at(self) -> float:
        """Return the monotonic second at which ``tick`` has something to do."""
        if self._connection is None:
            return self._connect_at
        if not self._opened:
            return math.inf
        send_at = self._send_at if self._can_send() else math.inf
        return min(self._heartbeat_at, self._acknowledge_by, send_at)

    def tick(self) -> None:
        """Do the one thing most due: connect, give up a silent station, send heartbeat or batch."""
        now = self._clock.monotonic()
        if now < self.due_at():
            return
        if self._connection is None:
            self._begin_connection()
        elif now >= self._acknowledge_by:
            timeout_s = self._limits.acknowledge_timeout_s
            self._end(f"no acknowledgement within {timeout_s:g} s")
        elif now >= self._heartbeat_at:
            self._send_heartbeat(self._connection, now)
        else:
            self._send_batch(self._connection, now)

    def take(self, connection_number: int, event: ConnectionEvent) -> None:
        """Follow what the network says; a connection that was given up no longer counts."""
        if connection_number != self._connection_number or self._connection is None:
            return
        match event:
            case Opened():
                self._opened = True
                self._sent_through_id = 0
                self._heartbeat_at = self._send_at = self._clock.monotonic()
                self.problem = None
                log_event("info", "station_connected")
            case Acknowledged(message_id):
                self._settle(self._inflight.pop(message_id, []))
            case Refused(reason, credentials=True):
                self._end(
                    f"the station refused the device's credentials ({reason});"
                    " check --device-id and the key in --key-file",
                    retry_in_s=self._back_off.longest_delay_s(),
                )
            case Refused(reason):
                self._end(f"the station refused the connection: {reason}")
            case Lost(reason):
                self._end(reason)

    def close(self) -> None:
        """Leave the station politely if it is there."""
        if self._connection is not None:
            (self._connection.close if self._opened else self._connection.abort)()
        self._connection, self._opened = None, False

    def _begin_connection(self) -> None:
        self._connection_number += 1
        number = self._connection_number
        self._connection = self._connect(lambda event: self._deliver((number, event)))

    def _can_send(self) -> bool:
        return (
            len(self._inflight) < self._limits.inflight_messages_max
            and self._sent_through_id < self._spool.last_id
        )

    def _send_heartbeat(self, connection: Connection, now: float) -> None:
        message_id = connection.publish(
            f"{self._topic}/heartbeat", json.dumps(self._heartbeat()).encode()
        )
        self._await_acknowledgement(message_id, [])
        self._heartbeat_at = now + self._limits.heartbeat_interval_s

    def _send_batch(self, connection: Connection, now: float) -> None:
        try:
            batch = self._spool.oldest(
                self._limits.batch_readings_max, after_id=self._sent_through_id
            )
        except StationError as error:
            log_event("error", "spool_failed", detail=error.detail)
            self._send_at = now + 1
            return
        if not batch:
            self._sent_through_id = self._spool.last_id
            return
        message_id = connection.publish(
            f"{self._topic}/readings", readings_message([sample.body for sample in batch])
        )
        self._await_acknowledgement(message_id, [sample.id for sample in batch])
        self._sent_through_id = batch[-1].id
        readings = sum(sample.readings for sample in batch)
        self._send_at = now + readings / self._limits.readings_per_s_max

    def _await_acknowledgement(self, message_id: int, sample_ids: list[int]) -> None:
        if not self._inflight:
            self._acknowledge_by = self._clock.monotonic() + self._limits.acknowledge_timeout_s
        self._inflight[message_id] = sample_ids

    def _settle(self, ids: list[int]) -> None:
        self._back_off.reset()
        waits_s = self._limits.acknowledge_timeout_s if self._inflight else math.inf
        self._acknowledge_by = self._clock.monotonic() + waits_s
        self._acknowledged_ids += ids
        try:
            self._spool.remove(self._acknowledged_ids)
        except StationError as error:
            log_event("error", "spool_failed", detail=error.detail)
        else:
            self._acknowledged_ids.clear()

    def _end(self, problem: str, *, retry_in_s: float | None = None) -> None:
        if self._connection is not None:
            self._connection.abort()
        self._connection, self._opened = None, False
        self._inflight.clear()
        self._acknowledge_by = math.inf
        delay_s = self._back_off.next_delay_s() if retry_in_s is None else retry_in_s
        self._connect_at = self._clock.monotonic() + delay_s
        # Said once; the same problem at each further attempt is for --verbose.
        level = "debug" if problem == self.problem else "warning"
        self.problem = problem
        log_event(level, "station_away", detail=problem, retry_in_s=round(delay_s, 3))
