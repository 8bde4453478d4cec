"""Server and load processes, each on its own core, with a free port, a log and a certain end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec

PACKAGE_PARENT = Path(__file__).parent.parent
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.005
LOG_TAIL_CHARACTERS_MAX = 2_000
Result = TypeVar("Result")
Specification = TypeVar("Specification", bound=msgspec.Struct)
# What a child may see of this process' environment: nothing that could configure the station.
ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


class ProcessFailedError(RuntimeError):
    """A server or load process that did not do its part; the message ends with its log."""


def server_core() -> int:
    """The core that servers are pinned to."""
    return min(os.sched_getaffinity(os.getpid()))


def load_core() -> int:
    """The core that load generators are pinned to: another one where the machine has two."""
    return max(os.sched_getaffinity(os.getpid()))


@contextmanager
def children_pinned_to(core: int) -> Iterator[None]:
    """Processes started meanwhile run on ``core`` only: a child inherits its parent's affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
    return kept | dict(extra or {})


class ServerProcess:
    """A server on the server core; leaving the context ends it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self._log = log
        self._output = log.open("ab")
        with children_pinned_to(server_core()):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env=clean_environment(environment),
                cwd=directory,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once ``ready()``; raise ``ProcessFailedError`` if it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._process.poll() is not None:
                raise ProcessFailedError(
                    f"the server ended with {self._process.returncode}:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise ProcessFailedError(f"not ready in {timeout_s} s:\n{self.log_tail()}")
            time.sleep(POLL_INTERVAL_S)

    def stop(self) -> None:
        """Ask the server to end, insist after ``STOP_TIMEOUT_S``; harmless when it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._output.close()

    def kill(self) -> None:
        """End the server with SIGKILL and reap it."""
        self._process.kill()
        self._process.wait()
        self._output.close()

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS_MAX:]


class Task(Generic[Result]):
    """A module of this package run once: specification in and result out as JSON."""

    def __init__(
        self, module: str, spec: msgspec.Struct, *, result: type[Result], core: int
    ) -> None:
        self._module = module
        self._result = result
        with children_pinned_to(core):
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=clean_environment(),
                cwd=PACKAGE_PARENT,
            )
        if self._process.stdin is not None:
            self._process.stdin.write(msgspec.json.encode(spec))
            self._process.stdin.close()
            self._process.stdin = None

    def result(self) -> Result:
        """Wait for the task to end; raise ``ProcessFailedError`` when it failed."""
        output, _ = self._process.communicate()
        if self._process.returncode != 0:
            raise ProcessFailedError(f"{self._module} ended with {self._process.returncode}")
        return msgspec.json.decode(output, type=self._result)


def be_task(
    work: Callable[[Specification], msgspec.Struct], specification: type[Specification]
) -> None:
    """Do what ``Task`` started this process for: specification in, result out."""
    result = work(msgspec.json.decode(sys.stdin.buffer.read(), type=specification))
    sys.stdout.buffer.write(msgspec.json.encode(result))


def run_task(module: str, spec: msgspec.Struct, *, result: type[Result], core: int) -> Result:
    return Task(module, spec, result=result, core=core).result()


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
