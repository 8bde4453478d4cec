"""Starts ``python -m fieldstation`` as a fork of a process that has imported it already.

Importing is most of what a start costs, and the tests start hundreds of processes. What comes out
is a process like any other, with its own session, environment, output and exit code; what it does
first, second and last is what the command does. Tests of the start itself use the command.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

IMPORTED = (
    "aiosqlite",
    "alembic.command",
    "asyncmy",
    "asyncpg",
    "redis.asyncio",
    "sqlalchemy.dialects.mysql.asyncmy",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "fieldstation.adapters.diagnosis",
    "fieldstation.agent.command",
    "fieldstation.cli",
    "fieldstation.operations",
    "fieldstation.serving",
)
REQUEST_BYTES_MAX = 1_000_000


class ForkedProcess:
    """What ``subprocess.Popen`` is for a process that the fork server started."""

    def __init__(self, connection: socket.socket, stdout: IO[str] | None) -> None:
        self._connection = connection
        self.stdout = stdout
        self.returncode: int | None = None
        self.pid = int(self._receive())

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        if self.returncode is None and self._ended_within(0):
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; raise ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            if not self._ended_within(timeout):
                raise subprocess.TimeoutExpired("fieldstation", timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, timeout_s: float | None) -> bool:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def _end(self) -> None:
        self.returncode = int(self._receive())
        self._connection.close()

    def _receive(self) -> bytes:
        message = self._connection.recv(100)
        assert message, "the fork server is gone"
        return message


def start(
    module: str,
    arguments: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    stdout: int | None = None,
    stderr: int | None = None,
) -> ForkedProcess:
    """Start ``python -m module arguments`` in a session of its own.

    ``stdout`` and ``stderr`` are descriptors; without them both go to one pipe, ``.stdout``.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(fork_server())
    request = {"module": module, "arguments": arguments, "environment": dict(environment)}
    reader = writer = None
    if stdout is None:
        reader, writer = os.pipe()
        stdout = stderr = writer
    try:
        packet = json.dumps(request | {"directory": str(Path.cwd())}).encode()
        assert len(packet) < REQUEST_BYTES_MAX
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES_MAX)
        socket.send_fds(connection, [packet], [stdout, stdout if stderr is None else stderr])
    finally:
        if writer is not None:
            os.close(writer)
    return ForkedProcess(connection, None if reader is None else os.fdopen(reader))


@functools.cache
def fork_server() -> str:
    """Start the server of this process, once, and return where it listens."""
    directory = tempfile.TemporaryDirectory(prefix="fork-server-")
    address = str(Path(directory.name) / "socket")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", address],
        cwd=Path(__file__).parents[1],
        env=ours,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", "the fork server did not start"

    def stop() -> None:
        process.communicate(timeout=10)  # which closes its standard input: it ends
        directory.cleanup()

    atexit.register(stop)
    return address


class Server:
    """Forks at each request; tells each client the process id, and the exit code when it ends."""

    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(address)
        self._listener.listen(100)
        self._running: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> dict[str, Any] | None:
        """Return None when standard input ends, and in each child what it is to run.

        Nothing that was started outlives the server.
        """
        while True:
            readable, _, _ = select.select([0, self._listener, *self._running], [], [])
            if 0 in readable:
                for process_id, _ in self._running.values():
                    os.killpg(process_id, signal.SIGKILL)
                return None
            for descriptor in readable:
                if isinstance(descriptor, int):
                    self._tell_end(descriptor)
                elif (request := self._fork()) is not None:
                    return request

    def _fork(self) -> dict[str, Any] | None:
        connection, _ = self._listener.accept()
        packet, files, _, _ = socket.recv_fds(connection, REQUEST_BYTES_MAX, 2)
        process_id = os.fork()
        if process_id == 0:
            connection.close()
            self._close()
            become(files)
            return json.loads(packet)
        for file in files:
            os.close(file)
        self._running[os.pidfd_open(process_id)] = (process_id, connection)
        connection.send(str(process_id).encode())
        return None

    def _tell_end(self, descriptor: int) -> None:
        process_id, connection = self._running.pop(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(process_id, 0)
        try:
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
        except BrokenPipeError:
            pass  # nobody waits for it any more
        finally:
            connection.close()

    def _close(self) -> None:
        self._listener.close()
        for descriptor, (_, connection) in self._running.items():
            os.close(descriptor)
            connection.close()


def become(files: list[int]) -> None:
    """Take the files as standard output and error, and a session of its own."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, ours in enumerate((nothing, *files)):
        os.dup2(ours, descriptor)
        os.close(ours)


def run(request: dict[str, Any]) -> None:
    """Do what ``python -m`` does."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        import coverage

        coverage.process_startup(force=True)
    sys.argv = [request["module"], *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def main(address: str) -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # children neither visit nor copy what was imported
    server = Server(address)
    os.write(1, b"ready\n")
    request = server.serve()
    if request is not None:
        run(request)


if __name__ == "__main__":
    main(sys.argv[1])
