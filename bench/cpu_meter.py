"""How busy server, load generator and everybody else kept the cores while the clock ran."""

import os
import time

import msgspec
import psutil


class CpuShares(msgspec.Struct, frozen=True):
    """Cores kept busy on average: 1.0 is one whole core."""

    server: float
    load: float
    others: float


class CpuMeter:
    """Measures from its creation to ``read()``; runs in the load, or in a server without."""

    def __init__(self, server_pid: int | None) -> None:
        self._server_pid = server_pid
        self._started = time.perf_counter()
        self._server_s = process_tree_cpu_s(server_pid)
        self._is_server = server_pid == os.getpid()
        self._load_s = time.process_time()
        self._machine_s = machine_cpu_s()

    def read(self, *, elapsed_s: float | None = None, idle_s: float = 0.0) -> CpuShares:
        """Return the shares of the time so far, or of ``elapsed_s`` if nothing was done after that.

        For ``idle_s`` of its time the load generator only looked whether there is something to do.
        """
        since_s = time.perf_counter() - self._started
        server_s = process_tree_cpu_s(self._server_pid) - self._server_s
        load_s = 0.0 if self._is_server else time.process_time() - self._load_s
        others_s = max(machine_cpu_s() - self._machine_s - server_s - load_s, 0.0)
        load_s = max(load_s - idle_s, 0.0)
        elapsed_s = elapsed_s or since_s
        return CpuShares(
            server=round(server_s / elapsed_s, 3),
            load=round(load_s / elapsed_s, 3),
            others=round(others_s / elapsed_s, 3),
        )


def process_tree_cpu_s(pid: int | None) -> float:
    """Return CPU seconds of a process and its living children; 0 when there is none."""
    if pid is None:
        return 0.0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
        return sum(spent.user + spent.system for spent in (part.cpu_times() for part in tree))
    except psutil.NoSuchProcess:
        return 0.0


def machine_cpu_s() -> float:
    spent = psutil.cpu_times()
    return float(spent.user + spent.system + spent.nice + spent.softirq + spent.irq + spent.steal)
