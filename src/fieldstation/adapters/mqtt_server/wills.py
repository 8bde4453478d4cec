"""Last wills: published like any message of their client, once there is room for them."""

from collections import deque
from typing import NamedTuple

from fieldstation.adapters.mqtt_server.acknowledge import Acknowledger
from fieldstation.adapters.mqtt_server.options import MqttCounters, MqttServerOptions
from fieldstation.adapters.mqtt_server.packets import Publish
from fieldstation.adapters.mqtt_server.ports import MqttIdentity, MqttStation, Verdict


class _Will(NamedTuple):
    identity: MqttIdentity
    message: Publish
    acknowledger: Acknowledger


class Wills:
    """Publishes the wills of closed connections.

    While the intake is full they wait, at most ``wills_waiting_max``.
    """

    def __init__(
        self, station: MqttStation, options: MqttServerOptions, counters: MqttCounters
    ) -> None:
        self._station = station
        self._waiting_max = options.wills_waiting_max
        self._counters = counters
        self._waiting: deque[_Will] = deque()

    def publish(self, identity: MqttIdentity, message: Publish, acknowledger: Acknowledger) -> None:
        """Publish a will behind everything that its connection published before."""
        if len(self._waiting) >= self._waiting_max:
            self._counters.wills_dropped += 1
            return
        self._waiting.append(_Will(identity, message, acknowledger))
        if len(self._waiting) == 1:
            self._publish_waiting()

    def _publish_waiting(self) -> None:
        while self._waiting:
            will = self._waiting.popleft()
            identity, message, acknowledger = will
            verdict = self._station.publish(identity, message.topic, message.payload, acknowledger)
            if verdict in {Verdict.FULL, Verdict.WAIT}:
                self._waiting.appendleft(will)
                self._station.when_ready(self._publish_waiting)
                return
            self._count(verdict)
            if verdict is Verdict.TAKEN:
                acknowledger.taken(message)
            elif verdict is Verdict.PASSED:
                acknowledger.passed(message)

    def _count(self, verdict: Verdict) -> None:
        if verdict in {Verdict.TAKEN, Verdict.PASSED}:
            self._counters.wills_published += 1
        else:
            self._counters.wills_dropped += 1
