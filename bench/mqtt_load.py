"""The MQTT load generator, a process of its own: prepared QoS 1 publications over many raw sockets.

Each client keeps a window of unacknowledged messages. PUBACK is four bytes in MQTT 3.1.1, so
acknowledgements are counted by their bytes; every packet's first byte is checked.
"""

import select
import socket
import time
from pathlib import Path

import msgspec

from bench.cpu_meter import CpuMeter, CpuShares
from bench.http_load import Messages
from bench.processes import be_task
from bench.spool import Spool

RECEIVE_BYTES = 65_536
ACK_BYTES = 4
CONNACK_ACCEPTED = bytes([0x20, 0x02])
PUBACK = 0x40
ANSWER_TIMEOUT_S = 60.0


class MqttLoadSpec(msgspec.Struct, frozen=True):
    """Each client opens with its message of ``connects``, then sends its share of ``publishes``.

    The first ``warm_up`` messages of each client are not measured; the measured part ends when all
    is acknowledged or ``duration_s`` is over.
    """

    port: int
    connects: str
    publishes: str
    clients: int
    per_client: int
    warm_up: int
    window: int
    duration_s: float
    server_pid: int | None = None


class MqttLoadResult(msgspec.Struct, frozen=True):
    """Acknowledgements in the measured part; ``lost`` clients were disconnected."""

    acknowledged: int
    lost: int
    elapsed_s: float
    cpu: CpuShares

    @property
    def per_s(self) -> float:
        return self.acknowledged / self.elapsed_s


class Client:
    """One connected client; ``sent`` and ``acknowledged`` are positions in the spool."""

    __slots__ = ("acknowledged", "sent", "socket", "spare", "unsent")

    def __init__(self, port: int, connect: memoryview, *, first: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(connect)
        answer = self.socket.recv(ACK_BYTES)
        if not answer.startswith(CONNACK_ACCEPTED) or answer[-1] != 0:
            raise ConnectionRefusedError(f"CONNECT was answered with {answer.hex(' ')}")
        self.socket.setblocking(False)
        self.sent = self.acknowledged = first
        self.spare = 0
        self.unsent = memoryview(b"")


class MqttLoad:
    """Drives all clients; ``acknowledged`` counts the latest ``run``."""

    def __init__(self, spec: MqttLoadSpec, publishes: Messages) -> None:
        connects = Spool.load(Path(spec.connects))
        self._publishes = publishes
        self._window = spec.window
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._lasts: dict[int, int] = {}
        self.acknowledged = 0
        self.lost = 0
        for number in range(spec.clients):
            client = Client(
                spec.port, connects.span(number, number + 1), first=number * spec.per_client
            )
            self._clients[client.socket.fileno()] = client
            self._epoll.register(client.socket, select.EPOLLIN)

    def run(self, per_client: int, *, duration_s: float) -> float:
        """Have each client send its next ``per_client`` messages; return the seconds it took."""
        self.acknowledged = 0
        wanted = per_client * len(self._clients)
        started = time.perf_counter()
        deadline = started + duration_s
        for descriptor, client in list(self._clients.items()):
            self._lasts[descriptor] = client.sent + per_client
            self._refill(client)
        while self.acknowledged < wanted and self._clients and time.perf_counter() < deadline:
            for descriptor, events in self._epoll.poll(0.2):
                self._serve(self._clients[descriptor], events)
        return time.perf_counter() - started

    def close(self) -> None:
        for client in self._clients.values():
            client.socket.close()
        self._epoll.close()

    def _serve(self, client: Client, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush(client)
            if not client.unsent and client.socket.fileno() >= 0:
                self._epoll.modify(client.socket, select.EPOLLIN)
        if events & ~select.EPOLLOUT and client.socket.fileno() >= 0:
            self._receive(client)

    def _receive(self, client: Client) -> None:
        try:
            received = client.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose(client)
            return
        count, client.spare = count_acknowledgements(received, spare=client.spare)
        client.acknowledged += count
        self.acknowledged += count
        # Half a window at a time: a send per acknowledgement would fill this process' core, and
        # Mosquitto is fastest this way.
        if client.sent - client.acknowledged <= self._window // 2:
            self._refill(client)

    def _refill(self, client: Client) -> None:
        if client.unsent:
            return
        last = self._lasts[client.socket.fileno()]
        stop = min(client.acknowledged + self._window, last)
        if stop > client.sent:
            client.unsent = self._publishes.span(client.sent, stop)
            client.sent = stop
            self._flush(client)

    def _flush(self, client: Client) -> None:
        try:
            sent = client.socket.send(client.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose(client)
            return
        client.unsent = client.unsent[sent:]
        if client.unsent:
            self._epoll.modify(client.socket, select.EPOLLIN | select.EPOLLOUT)

    def _lose(self, client: Client) -> None:
        del self._clients[client.socket.fileno()]
        self._epoll.unregister(client.socket)
        client.socket.close()
        self.lost += 1


def count_acknowledgements(received: bytes, *, spare: int) -> tuple[int, int]:
    """Return how many PUBACKs are complete and how many bytes of the next one are here already.

    ``spare`` are those bytes from before. Raises ``ValueError`` when anything but a PUBACK came.
    """
    first = -spare % ACK_BYTES
    starts = received[first::ACK_BYTES]
    if starts.count(PUBACK) != len(starts):
        raise ValueError(f"expected only PUBACKs, received {received[:40].hex(' ')}")
    return divmod(spare + len(received), ACK_BYTES)


def generate(spec: MqttLoadSpec) -> MqttLoadResult:
    """Connect everybody, warm up, then measure."""
    load = MqttLoad(spec, Spool.load(Path(spec.publishes)))
    if spec.warm_up:
        load.run(spec.warm_up, duration_s=ANSWER_TIMEOUT_S)
    meter = CpuMeter(spec.server_pid)
    elapsed_s = load.run(spec.per_client - spec.warm_up, duration_s=spec.duration_s)
    result = MqttLoadResult(
        acknowledged=load.acknowledged, lost=load.lost, elapsed_s=elapsed_s, cpu=meter.read()
    )
    load.close()
    return result


if __name__ == "__main__":
    be_task(generate, MqttLoadSpec)
