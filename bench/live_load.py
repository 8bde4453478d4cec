"""The live-socket load generator, a process of its own: many raw WebSockets that count what they
are shown, and HTTP connections that publish it.

Closed loop: the next reading is sent when one was answered. Open loop: at a fixed rate.
"""

import base64
import os
import select
import socket
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from bench.cpu_meter import CpuMeter, CpuShares
from bench.http_load import is_complete
from bench.processes import be_task
from bench.spool import Spool
from bench.spread import Latencies, summarise_latencies

RECEIVE_BYTES = 262_144
TEXT_FRAME = 0x81
PING_FRAME = 0x89
PONG_FRAME = 0x8A
ANSWER_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 5.0
TIMESTAMP = b'"timestamp":"'
TIMESTAMP_CHARACTERS = 27


class LiveLoadSpec(msgspec.Struct, frozen=True):
    """Opens ``sockets``, then publishes the spool's first ``messages``; each is to arrive at all.

    ``warm_up`` messages come before the clock starts. ``timed``: take each frame's latency from the
    commit that its last ``timestamp`` names. ``polls``: never sleep, so that no write to a socket
    pays for waking this process, which can cost more than the write; looking in vain is idle time.
    ``in_flight`` readings wait for their answer at a time, each on a connection of its own.
    """

    port: int
    path: str
    sockets: int
    spool: str
    messages: int
    warm_up: int
    token: str | None = None
    rate_per_s: float | None = None
    timed: bool = False
    polls: bool = False
    in_flight: int = 1
    time_limit_s: float = 60.0
    server_pid: int | None = None


class LiveLoadResult(msgspec.Struct, frozen=True):
    """Frames shown in the measured part and how long that took; ``missing`` never came."""

    frames: int
    missing: int
    elapsed_s: float
    latencies: Latencies | None
    cpu: CpuShares

    @property
    def per_s(self) -> float:
        return self.frames / self.elapsed_s


def open_socket(port: int, path: str, token: str | None) -> socket.socket:
    """Open a WebSocket and return it behind the server's 101."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    connection = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        received = connection.recv(1)  # not a byte of the first frame
        if not received:
            raise ConnectionRefusedError(f"the handshake was answered with {answer[:200]!r}")
        answer += received
    if not answer.startswith(b"HTTP/1.1 101"):
        raise ConnectionRefusedError(f"the handshake was answered with {answer[:200]!r}")
    connection.setblocking(False)
    return connection


def client_frame(content: bytes, *, kind: int = TEXT_FRAME) -> bytes:
    """Return a short frame as a client sends it, masked with zeros."""
    return bytes((kind, 0x80 | len(content))) + bytes(4) + content


def answer_pings(connection: socket.socket, pings: Sequence[bytes]) -> None:
    """Show the server that somebody is there."""
    for held in pings:
        connection.sendall(client_frame(held, kind=PONG_FRAME))


def split_frames(received: bytes) -> tuple[list[bytes], list[bytes], bytes]:
    """Return the texts of the complete frames, what pings hold, and the bytes of the next frame.

    Raises ``ValueError`` for anything but text and pings.
    """
    texts: list[bytes] = []
    pings: list[bytes] = []
    at = 0
    while len(received) >= at + 2:
        kind, size = received[at], received[at + 1]
        start = at + 2
        if size == 126:
            size, start = int.from_bytes(received[at + 2 : at + 4]), at + 4
        elif size == 127:
            size, start = int.from_bytes(received[at + 2 : at + 10]), at + 10
        if len(received) < start + size:
            break
        if kind == TEXT_FRAME:
            texts.append(received[start : start + size])
        elif kind == PING_FRAME:
            pings.append(received[start : start + size])
        else:
            raise ValueError(f"expected text, received {received[at : at + 40]!r}")
        at = start + size
    return texts, pings, received[at:]


def latency_s(text: bytes, now_us: int) -> float:
    """Return the time since the commit that a frame names."""
    at = text.rindex(TIMESTAMP) + len(TIMESTAMP)
    instant = datetime.fromisoformat(text[at : at + TIMESTAMP_CHARACTERS].decode())
    return now_us / 1e6 - instant.timestamp()


def whole_texts(received: memoryview, size: int) -> int:
    """Count the text frames of 126 to 65,535 bytes that fill ``size`` bytes exactly; else 0."""
    at = found = 0
    while size > at + 4 and received[at] == TEXT_FRAME and received[at + 1] == 126:
        at += 4 + (received[at + 2] << 8 | received[at + 3])
        found += 1
    return found if at == size else 0


class LiveLoad:
    """All sockets and the publisher; ``frames`` and ``latencies`` are of the latest ``run``.

    Everything is received into one buffer that is never freed: a new one for each frame would cost
    several times what receiving costs.
    """

    def __init__(self, spec: LiveLoadSpec) -> None:
        self._spec = spec
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._spool = Spool.load(Path(spec.spool))
        self._epoll = select.epoll()
        self._rest: dict[int, bytes] = {}
        self._sockets: dict[int, socket.socket] = {}
        self.frames = 0
        self.idle_s = 0.0
        self.latencies: list[float] = []
        for _ in range(spec.sockets):
            opened = open_socket(spec.port, spec.path, spec.token)
            self._sockets[opened.fileno()] = opened
            self._rest[opened.fileno()] = b""
            self._epoll.register(opened, select.EPOLLIN)
        self._publishers: dict[int, socket.socket] = {}
        self._answers: dict[int, bytes] = {}
        for _ in range(spec.in_flight):
            http = socket.create_connection(("127.0.0.1", spec.port), timeout=ANSWER_TIMEOUT_S)
            http.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._publishers[http.fileno()] = http
            self._answers[http.fileno()] = b""
            self._epoll.register(http, select.EPOLLIN)
        self._free = list(self._publishers.values())

    def run(self, start: int, stop: int, *, rate_per_s: float | None) -> float:
        """Publish the messages and wait until everybody has them; return the seconds until the last
        frame came. What is still missing ``SETTLE_TIMEOUT_S`` after the last message never comes.
        """
        self.frames, self.idle_s, self.latencies = 0, 0.0, list[float]()
        wanted = (stop - start) * len(self._sockets)
        began = time.perf_counter()
        deadline, last, sent, over = began + self._spec.time_limit_s, began, start, began
        while self.frames < wanted:
            now = time.perf_counter()
            if now > deadline or (sent == stop and now - last > SETTLE_TIMEOUT_S):
                break
            due = began + (sent - start) / rate_per_s if rate_per_s else now
            if sent < stop and self._free and now >= due:
                self._free.pop().sendall(self._spool.span(sent, sent + 1))
                sent += 1
                last = now
            wait_s = min(max(due - now, 0), 0.1) if self._free and sent < stop else 0.1
            known = self.frames
            received = self._receive(0 if self._spec.polls else wait_s)
            if self.frames > known:
                over = time.perf_counter()
            elif self._spec.polls and not received:
                self.idle_s += time.perf_counter() - now
        return over - began

    def close(self) -> None:
        for opened in (*self._sockets.values(), *self._publishers.values()):
            opened.close()
        self._epoll.close()

    def _receive(self, wait_s: float) -> bool:
        """Take what came within a time; return whether anything did."""
        timed = self._spec.timed
        events = self._epoll.poll(wait_s)
        for descriptor, _ in events:
            if descriptor in self._publishers:
                self._take_answer(descriptor)
                continue
            size = self._sockets[descriptor].recv_into(self._buffer)
            if not size:
                raise ConnectionError("a live socket was closed")
            whole = 0 if timed or self._rest[descriptor] else whole_texts(self._buffer, size)
            self.frames += whole
            if not whole:
                self._take(descriptor, bytes(self._buffer[:size]))
        return bool(events)

    def _take_answer(self, descriptor: int) -> None:
        publisher = self._publishers[descriptor]
        answer = self._answers[descriptor] + publisher.recv(RECEIVE_BYTES)
        self._answers[descriptor] = answer
        if is_complete(answer):
            if answer[9:12] not in {b"200", b"201"}:
                raise ConnectionError(f"publishing was answered {answer[:300]!r}")
            self._answers[descriptor] = b""
            self._free.append(publisher)

    def _take(self, descriptor: int, received: bytes) -> None:
        texts, pings, rest = split_frames(self._rest[descriptor] + received)
        self._rest[descriptor] = rest
        answer_pings(self._sockets[descriptor], pings)
        self.frames += len(texts)
        if self._spec.timed:
            now_us = time.time_ns() // 1000
            self.latencies += [latency_s(text, now_us) for text in texts]


def generate(spec: LiveLoadSpec) -> LiveLoadResult:
    """Open everything, warm up, then measure."""
    load = LiveLoad(spec)
    load.run(0, spec.warm_up, rate_per_s=None)
    meter = CpuMeter(spec.server_pid)
    elapsed_s = load.run(spec.warm_up, spec.messages, rate_per_s=spec.rate_per_s)
    cpu = meter.read(elapsed_s=elapsed_s, idle_s=load.idle_s)
    load.close()
    return LiveLoadResult(
        frames=load.frames,
        missing=(spec.messages - spec.warm_up) * spec.sockets - load.frames,
        elapsed_s=elapsed_s,
        latencies=summarise_latencies(load.latencies),
        cpu=cpu,
    )


if __name__ == "__main__":
    be_task(generate, LiveLoadSpec)
