"""Last wills: published like any message of their client, once they are due and there is room."""

from collections import deque
from typing import NamedTuple

from fieldstation.adapters.mqtt_server.acknowledge import Acknowledger
from fieldstation.adapters.mqtt_server.options import MqttCounters, MqttServerOptions
from fieldstation.adapters.mqtt_server.packets import Publish
from fieldstation.adapters.mqtt_server.ports import MqttIdentity, MqttStation, Verdict
from fieldstation.adapters.mqtt_server.sessions import Session
from fieldstation.core.clock import Clock

WITHHELD = frozenset({Verdict.REFUSED, Verdict.OVER_QUOTA, Verdict.TOO_LARGE})
DROPPED = frozenset({Verdict.DENIED, Verdict.OVER_QUOTA, Verdict.TOO_LARGE})


class _Will(NamedTuple):
    identity: MqttIdentity
    message: Publish
    acknowledger: Acknowledger
    due_s: float


class Wills:
    """Publishes the wills of closed connections.

    Delayed ones wait for their time, at most ``wills_waiting_max``; while the intake is full, as
    many wait for room.
    """

    def __init__(
        self,
        station: MqttStation,
        options: MqttServerOptions,
        counters: MqttCounters,
        clock: Clock,
    ) -> None:
        self._station = station
        self._waiting_max = options.wills_waiting_max
        self._counters = counters
        self._clock = clock
        self._waiting: deque[_Will] = deque()
        self._delayed: dict[Session, _Will] = {}

    def leave(
        self,
        identity: MqttIdentity,
        message: Publish,
        acknowledger: Acknowledger,
        *,
        session: Session,
        delay_s: int,
    ) -> None:
        """Publish a will, at once or when its client stayed away for ``delay_s``."""
        due_s = self._clock.monotonic() + delay_s
        will = _Will(identity, message, acknowledger, due_s)
        if not delay_s:
            self._publish(will)
        elif len(self._delayed) >= self._waiting_max:
            self._counters.wills_dropped += 1
        else:
            self._delayed[session] = will

    def void(self, session: Session) -> None:
        """The client came back to its session: its delayed will is void."""
        self._delayed.pop(session, None)

    def revoke(self, subject: str) -> None:
        """Drop the waiting wills of whoever lost the right to publish them."""
        kept = deque(will for will in self._waiting if subject not in will.identity.subjects)
        self._counters.wills_dropped += len(self._waiting) - len(kept)
        self._waiting = kept
        for session, will in tuple(self._delayed.items()):
            if subject in will.identity.subjects:
                del self._delayed[session]
                self._counters.wills_dropped += 1

    def publish_due(self, now_s: float) -> None:
        """Publish the delayed wills whose time has come or whose session is over."""
        for session, will in tuple(self._delayed.items()):
            if will.due_s <= now_s or session.ended:
                del self._delayed[session]
                self._publish(will)

    def _publish(self, will: _Will) -> None:
        """Publish a will behind everything that its connection published before."""
        if len(self._waiting) >= self._waiting_max:
            self._counters.wills_dropped += 1
            return
        self._waiting.append(will)
        if len(self._waiting) == 1:
            self._publish_waiting()

    def _publish_waiting(self) -> None:
        while self._waiting:
            will = self._waiting.popleft()
            identity, message, acknowledger, _ = will
            verdict = self._station.publish(identity, message.topic, message.payload, acknowledger)
            if verdict in {Verdict.FULL, Verdict.WAIT}:
                self._waiting.appendleft(will)
                self._station.when_ready(self._publish_waiting)
                return
            self._count(verdict)
            if verdict is Verdict.TAKEN:
                acknowledger.taken(message)
            elif verdict in WITHHELD:
                acknowledger.withheld(message)
            elif verdict is Verdict.PASSED:
                acknowledger.passed(message)

    def _count(self, verdict: Verdict) -> None:
        if verdict in DROPPED:
            self._counters.wills_dropped += 1
        else:
            self._counters.wills_published += 1
