"""MQTT clients that publish without end, a process of its own: the same few messages over and over.

Their readings have no timestamps, so the station gives each a new one.
"""

import sys
from pathlib import Path

import msgspec

from bench.cpu_meter import CpuMeter
from bench.mqtt_load import MqttLoad, MqttLoadResult, MqttLoadSpec
from bench.spool import Spool

MESSAGES_MAX = 1 << 40
"""Of a client: without end."""


class Rounds:
    """The messages of a spool, each client's own again and again: a window of them."""

    def __init__(self, spool: Spool, *, own: int) -> None:
        self._spool = spool
        self._own = own

    def __len__(self) -> int:
        return MESSAGES_MAX

    def span(self, start: int, stop: int) -> memoryview:
        """Return messages of one client as one piece: a round of them at most."""
        client, number = divmod(start, MESSAGES_MAX)
        first = client * self._own + number % self._own
        last = first + stop - start
        end = (client + 1) * self._own
        if last <= end:
            return self._spool.span(first, last)
        again = self._spool.span(client * self._own, client * self._own + last - end)
        return memoryview(bytes(self._spool.span(first, end)) + bytes(again))


def generate(spec: MqttLoadSpec) -> MqttLoadResult:
    """Publish until the time is over; what is not acknowledged then is not counted."""
    rounds = Rounds(Spool.load(Path(spec.publishes)), own=spec.window)
    load = MqttLoad(spec, rounds)
    meter = CpuMeter(spec.server_pid)
    elapsed_s = load.run(MESSAGES_MAX, duration_s=spec.duration_s)
    result = MqttLoadResult(
        acknowledged=load.acknowledged, lost=load.lost, elapsed_s=elapsed_s, cpu=meter.read()
    )
    load.close()
    return result


if __name__ == "__main__":
    outcome = generate(msgspec.json.decode(sys.stdin.buffer.read(), type=MqttLoadSpec))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
