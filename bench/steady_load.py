"""Readings without end, a process of its own: the same prepared bodies with ever later timestamps.

All bodies of one wave have the same instants in the same places, so that the next wave only needs
its ten-digit seconds put in.
"""

from pathlib import Path

import msgspec

from bench.cpu_meter import CpuMeter
from bench.http_load import HttpLoad, HttpLoadResult
from bench.processes import be_task
from bench.spool import Spool
from bench.spread import summarise_latencies


class SteadyLoadSpec(msgspec.Struct, frozen=True):
    """Send the spool's messages round and round for ``duration_s``, each round ``step_s`` later.

    Every message holds the instants ``base_s`` up to ``base_s + step_s`` as milliseconds.
    """

    port: int
    spool: str
    connections: int
    base_s: int
    step_s: int
    duration_s: float
    messages_max: int
    server_pid: int | None = None


class Waves:
    """The messages of a spool, wave after wave."""

    def __init__(self, spool: Spool, *, base_s: int, step_s: int, messages_max: int) -> None:
        self._spool = spool
        self._known = [b"%d000" % (base_s + second) for second in range(step_s)]
        self._base_s = base_s
        self._step_s = step_s
        self._messages_max = messages_max

    def __len__(self) -> int:
        return self._messages_max

    def span(self, start: int, stop: int) -> memoryview:
        """Return message ``start``; ``stop`` is the one behind it."""
        wave, number = divmod(start, len(self._spool))
        message = bytes(self._spool.span(number, number + stop - start))
        if wave:
            later = self._base_s + wave * self._step_s
            for second, known in enumerate(self._known):
                message = message.replace(known, b"%d000" % (later + second))
        return memoryview(message)


def generate(spec: SteadyLoadSpec) -> HttpLoadResult:
    waves = Waves(
        Spool.load(Path(spec.spool)),
        base_s=spec.base_s,
        step_s=spec.step_s,
        messages_max=spec.messages_max,
    )
    load = HttpLoad(waves, port=spec.port, connections=spec.connections)
    meter = CpuMeter(spec.server_pid)
    elapsed_s = load.run(0, spec.messages_max, duration_s=spec.duration_s, rate_per_s=None)
    result = HttpLoadResult(
        statuses=dict(load.statuses),
        lost=load.lost,
        elapsed_s=elapsed_s,
        cpu=meter.read(),
        latencies=summarise_latencies(load.latencies),
        send_delays=None,
        refusal=load.refusal,
    )
    load.close()
    return result


if __name__ == "__main__":
    be_task(generate, SteadyLoadSpec)
