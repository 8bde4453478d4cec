"""How long a station's loop lets a live socket's ping wait: pings at a fixed rate, open loop."""

import select
import time

import msgspec

from bench.cpu_meter import CpuMeter, CpuShares
from bench.live_load import (
    RECEIVE_BYTES,
    answer_pings,
    client_frame,
    open_socket,
    split_frames,
)
from bench.processes import be_task
from bench.spread import Latencies, summarise_latencies

PING = client_frame(b'{"type":"ping"}')
PONG = b'"pong"'
LAST_ANSWER_TIMEOUT_S = 10.0


class EchoSpec(msgspec.Struct, frozen=True):
    """Pings ``count`` times, one every ``interval_s``."""

    port: int
    path: str
    token: str
    count: int
    interval_s: float
    server_pid: int | None = None


class EchoResult(msgspec.Struct, frozen=True):
    """Each latency is from when its ping was due."""

    answered: int
    latencies: Latencies | None
    cpu: CpuShares


def probe(spec: EchoSpec) -> EchoResult:
    opened = open_socket(spec.port, spec.path, spec.token)
    meter = CpuMeter(spec.server_pid)
    waiting = select.epoll()
    waiting.register(opened, select.EPOLLIN)
    began = time.perf_counter()
    latencies: list[float] = []
    rest, sent = b"", 0
    while len(latencies) < spec.count:
        now = time.perf_counter()
        due = began + sent * spec.interval_s
        if sent < spec.count and now >= due:
            opened.send(PING)
            sent += 1
            continue
        wait_s = due - now if sent < spec.count else LAST_ANSWER_TIMEOUT_S
        if waiting.poll(wait_s):
            received = opened.recv(RECEIVE_BYTES)
            if not received:
                raise ConnectionError("the socket was closed")
            texts, pings, rest = split_frames(rest + received)
            answer_pings(opened, pings)
            now = time.perf_counter()
            for text in texts:
                if PONG in text:
                    latencies.append(now - began - len(latencies) * spec.interval_s)
        elif sent == spec.count:
            raise TimeoutError("a ping was not answered")
    waiting.close()
    opened.close()
    return EchoResult(
        answered=len(latencies), latencies=summarise_latencies(latencies), cpu=meter.read()
    )


if __name__ == "__main__":
    be_task(probe, EchoSpec)
