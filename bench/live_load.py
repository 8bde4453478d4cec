"""The live-socket load generator, a process of its own: many raw WebSockets that count what they
are shown, and one HTTP connection that publishes it.

Closed loop: the next reading is sent when the last one was answered. Open loop: at a fixed rate.
"""

import base64
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from bench.cpu_meter import CpuMeter, CpuShares
from bench.http_load import is_complete
from bench.spool import Spool
from bench.spread import Latencies, summarise_latencies

RECEIVE_BYTES = 262_144
TEXT_FRAME = 0x81
PING_FRAME = 0x89
PONG_FRAME = 0x8A
ANSWER_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 10.0
TIMESTAMP = b'"timestamp":"'
TIMESTAMP_CHARACTERS = 27


class LiveLoadSpec(msgspec.Struct, frozen=True):
    """Opens ``sockets``, then publishes the spool's first ``messages``; each is to arrive at all.

    ``warm_up`` messages come before the clock starts. ``timed``: take each frame's latency from the
    commit that its last ``timestamp`` names.
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


def is_one_text(received: memoryview, size: int) -> bool:
    """Tell whether ``size`` bytes are one text frame of 126 to 65,535 bytes, whole and alone."""
    return (
        size > 4
        and received[0] == TEXT_FRAME
        and received[1] == 126
        and (received[2] << 8 | received[3]) == size - 4
    )


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
        self.latencies: list[float] = []
        for _ in range(spec.sockets):
            opened = open_socket(spec.port, spec.path, spec.token)
            self._sockets[opened.fileno()] = opened
            self._rest[opened.fileno()] = b""
            self._epoll.register(opened, select.EPOLLIN)
        self._http = socket.create_connection(("127.0.0.1", spec.port), timeout=ANSWER_TIMEOUT_S)
        self._http.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._epoll.register(self._http, select.EPOLLIN)
        self._answer = b""
        self._is_free = True

    def run(self, start: int, stop: int, *, rate_per_s: float | None) -> float:
        """Publish the messages and wait until everybody has them; return the seconds it took."""
        self.frames, self.latencies = 0, list[float]()
        wanted = (stop - start) * len(self._sockets)
        began = time.perf_counter()
        deadline, last, sent = began + self._spec.time_limit_s, began, start
        while self.frames < wanted:
            now = time.perf_counter()
            if now > deadline or (sent == stop and now - last > SETTLE_TIMEOUT_S):
                break
            due = began + (sent - start) / rate_per_s if rate_per_s else now
            if sent < stop and self._is_free and now >= due:
                self._http.sendall(self._spool.span(sent, sent + 1))
                self._is_free = False
                sent += 1
                last = now
            wait_s = min(max(due - now, 0), 0.1) if self._is_free and sent < stop else 0.1
            self._receive(wait_s)
        return time.perf_counter() - began

    def close(self) -> None:
        for opened in (*self._sockets.values(), self._http):
            opened.close()
        self._epoll.close()

    def _receive(self, wait_s: float) -> None:
        timed = self._spec.timed
        for descriptor, _ in self._epoll.poll(wait_s):
            if descriptor == self._http.fileno():
                self._answer += self._http.recv(RECEIVE_BYTES)
                if is_complete(self._answer):
                    if self._answer[9:12] not in {b"200", b"201"}:
                        raise ConnectionError(f"publishing was answered {self._answer[:300]!r}")
                    self._answer, self._is_free = b"", True
                continue
            size = self._sockets[descriptor].recv_into(self._buffer)
            if not size:
                raise ConnectionError("a live socket was closed")
            if not timed and not self._rest[descriptor] and is_one_text(self._buffer, size):
                self.frames += 1
            else:
                self._take(descriptor, bytes(self._buffer[:size]))

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
    cpu = meter.read()
    load.close()
    return LiveLoadResult(
        frames=load.frames,
        missing=(spec.messages - spec.warm_up) * spec.sockets - load.frames,
        elapsed_s=elapsed_s,
        latencies=summarise_latencies(load.latencies),
        cpu=cpu,
    )


if __name__ == "__main__":
    outcome = generate(msgspec.json.decode(sys.stdin.buffer.read(), type=LiveLoadSpec))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
