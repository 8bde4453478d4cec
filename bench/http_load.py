"""The HTTP load generator, a process of its own: prepared requests over keep-alive connections.

A plain epoll loop: event loops round their timers to a millisecond, longer than what is measured.
"""

import select
import socket
import time
from collections import Counter, deque
from pathlib import Path
from typing import Protocol

import msgspec

from bench.cpu_meter import CpuMeter, CpuShares
from bench.processes import ProcessFailedError, be_task, load_core, run_task
from bench.spool import Spool
from bench.spread import Latencies, summarise_latencies

RECEIVE_BYTES = 65_536
HEAD_END = b"\r\n\r\n"
CONTENT_LENGTH = b"content-length:"
CHUNKED = b"transfer-encoding: chunked"
CHUNKS_END = b"\r\n0\r\n\r\n"
NO_CONTENT = b"204"
ANSWER_TIMEOUT_S = 30.0
SPIN_S = 0.0015
REFUSAL_CHARACTERS_MAX = 300


class HttpLoadSpec(msgspec.Struct, frozen=True):
    """What to send: ``warm_up`` messages unmeasured, then ``messages`` or for ``duration_s``.

    A spool with fewer messages is sent round and round. Without ``rate_per_s`` each connection
    sends as soon as it was answered (closed loop). With it, messages are due at a fixed rate
    whatever the answers do, and latency counts from the due time (open loop).
    """

    port: int
    spool: str
    connections: int
    messages: int
    duration_s: float
    warm_up: int = 0
    rate_per_s: float | None = None
    server_pid: int | None = None


class HttpLoadResult(msgspec.Struct, frozen=True):
    """What came back in the measured part.

    ``lost`` requests had no answer when their connection ended. ``send_delays`` (open loop) are
    this process' own: from when a message was due and a connection free to when it was sent.
    """

    statuses: dict[int, int]
    lost: int
    elapsed_s: float
    cpu: CpuShares
    latencies: Latencies | None
    send_delays: Latencies | None
    refusal: str | None

    @property
    def succeeded(self) -> int:
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    @property
    def per_s(self) -> float:
        return self.succeeded / self.elapsed_s


class Messages(Protocol):
    """Whole requests by number."""

    def __len__(self) -> int: ...

    def span(self, start: int, stop: int) -> memoryview: ...


class Connection:
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("free_since", "received", "socket", "started", "unsent")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent = memoryview(b"")
        self.received = bytearray()
        self.started = 0.0
        self.free_since = 0.0


class HttpLoad:
    """Drives the connections through a range of messages; counters are of the latest ``run``."""

    def __init__(self, spool: Messages, *, port: int, connections: int) -> None:
        self._spool = spool
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque()
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.send_delays: list[float] = []
        self.lost = 0
        self.refusal: str | None = None
        for _ in range(connections):
            connection = Connection(port)
            self._open[connection.socket.fileno()] = connection
            self._epoll.register(connection.socket, select.EPOLLIN)
            self._idle.append(connection)

    def run(self, first: int, last: int, *, duration_s: float, rate_per_s: float | None) -> float:
        """Send messages ``first … last`` and collect every answer; return the seconds it took."""
        self.statuses.clear()
        self.latencies.clear()
        self.send_delays.clear()
        self.lost = 0
        interval_s = 1 / rate_per_s if rate_per_s else 0.0
        started = now = time.perf_counter()
        due, number = started, first
        while self._open:
            if now - started > duration_s:
                last = number
            while self._idle and number < last and due <= now:
                self._send(number, started=due if interval_s else now, now=now)
                number += 1
                due += interval_s
            if number >= last and len(self._idle) == len(self._open):
                break
            if now - started > duration_s + ANSWER_TIMEOUT_S:
                self.lost += len(self._open) - len(self._idle)
                break
            ready = self._epoll.poll(self._patience_s(due - now if number < last else None))
            now = time.perf_counter()
            for descriptor, events in ready:
                self._serve(self._open[descriptor], events, now=now)
        return time.perf_counter() - started

    def close(self) -> None:
        for connection in self._open.values():
            connection.socket.close()
        self._epoll.close()

    def _patience_s(self, wait_s: float | None) -> float:
        """How long to sleep for answers; just before a message is due not at all, for precision."""
        if wait_s is None or not self._idle:
            return 0.2
        return 0.0 if wait_s < SPIN_S else wait_s - SPIN_S / 2

    def _send(self, number: int, *, started: float, now: float) -> None:
        connection = self._idle.popleft()
        number %= len(self._spool)
        connection.started = started
        connection.unsent = self._spool.span(number, number + 1)
        self.send_delays.append(now - max(started, connection.free_since))
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        was_waiting = len(connection.unsent)
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose(connection)
            return
        connection.unsent = connection.unsent[sent:]
        if sent < was_waiting:
            self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _serve(self, connection: Connection, events: int, *, now: float) -> None:
        if events & select.EPOLLOUT:
            self._flush(connection)
            if not connection.unsent and connection.socket.fileno() >= 0:
                self._epoll.modify(connection.socket, select.EPOLLIN)
        if events & ~select.EPOLLOUT and connection.socket.fileno() >= 0:
            self._receive(connection, now=now)

    def _receive(self, connection: Connection, *, now: float) -> None:
        try:
            received = connection.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose(connection)
            return
        answer = connection.received
        answer += received
        if not is_complete(answer):
            return
        connection.received = bytearray()
        status = int(answer[9:12])
        self.statuses[status] += 1
        self.latencies.append(now - connection.started)
        if status >= 300 and self.refusal is None:
            self.refusal = answer.decode(errors="replace")[-REFUSAL_CHARACTERS_MAX:]
        connection.free_since = now
        self._idle.append(connection)

    def _lose(self, connection: Connection) -> None:
        del self._open[connection.socket.fileno()]
        self._epoll.unregister(connection.socket)
        connection.socket.close()
        if connection in self._idle:
            self._idle.remove(connection)
        else:
            self.lost += 1


def is_complete(answer: bytes | bytearray) -> bool:
    """Whether an answer has arrived whole: by Content-Length, in chunks, or without content.

    Chunks are not counted: the texts that the measured servers send never hold an empty one.
    """
    head_end = answer.find(HEAD_END)
    if head_end < 0:
        return False
    head = answer[:head_end].lower()
    if head[9:12] == NO_CONTENT:
        return True
    at = head.find(CONTENT_LENGTH)
    if at < 0 and CHUNKED in head:
        return answer.endswith(CHUNKS_END)
    if at < 0:
        raise ValueError(f"an answer without Content-Length: {head[:REFUSAL_CHARACTERS_MAX]!r}")
    line_end = head.find(b"\r\n", at)
    length = int(head[at + len(CONTENT_LENGTH) : line_end if line_end > 0 else None])
    return len(answer) >= head_end + len(HEAD_END) + length


def generate(spec: HttpLoadSpec) -> HttpLoadResult:
    """Warm up, then measure."""
    load = HttpLoad(Spool.load(Path(spec.spool)), port=spec.port, connections=spec.connections)
    if spec.warm_up:
        load.run(0, spec.warm_up, duration_s=ANSWER_TIMEOUT_S, rate_per_s=None)
    meter = CpuMeter(spec.server_pid)
    elapsed_s = load.run(
        spec.warm_up,
        spec.warm_up + spec.messages,
        duration_s=spec.duration_s,
        rate_per_s=spec.rate_per_s,
    )
    result = HttpLoadResult(
        statuses=dict(load.statuses),
        lost=load.lost,
        elapsed_s=elapsed_s,
        cpu=meter.read(),
        latencies=summarise_latencies(load.latencies),
        send_delays=summarise_latencies(load.send_delays) if spec.rate_per_s else None,
        refusal=load.refusal,
    )
    load.close()
    return result


def run_load(spec: HttpLoadSpec) -> HttpLoadResult:
    """Run a load in a process of its own."""
    return run_task("bench.http_load", spec, result=HttpLoadResult, core=load_core())


def send_all(spec: HttpLoadSpec) -> HttpLoadResult:
    """Run a load; raise ``ProcessFailedError`` unless every message was answered with success."""
    result = run_load(spec)
    demand_success(result, spec.messages)
    return result


def demand_success(result: HttpLoadResult, messages: int) -> None:
    """Raise ``ProcessFailedError`` unless every message was answered with success."""
    if result.succeeded != messages or result.lost:
        raise ProcessFailedError(
            f"{result.succeeded} of {messages} requests succeeded, {result.lost} were cut off, "
            f"statuses {result.statuses}; the first refusal: {result.refusal}"
        )


if __name__ == "__main__":
    be_task(generate, HttpLoadSpec)
