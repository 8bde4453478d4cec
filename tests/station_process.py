"""A real station: its own process, its own directory, real ports."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests import fork_server
from tests.fork_server import ForkedProcess
from tests.wait_until import wait_until_blocking

READY = re.compile(r"Fieldstation ready: (https?://\S+) \(MQTT port (\w+)\)")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0


class StationProcess:
    """``fieldstation serve`` on free ports; ``start`` again after ``kill`` keeps the directory and
    the ports.

    It is started by a fork; by its command with a ``wrapper``, ``measured`` for coverage, or where
    the start itself counts: ``forked=False``.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        database_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        wrapper: tuple[str, ...] = (),
        measured: bool = False,
        forked: bool = True,
    ) -> None:
        self.data_dir = data_dir
        self.url = ""
        self.port = 0
        self.mqtt_port = 0
        self.lines: list[str] = []
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(not_passed_on(measured))},
            "DATA_DIR": str(data_dir),
            "LOG_LEVEL": "INFO",
            **({} if is_production(environment) else {"PASSWORD_MEMORY_KIB": "64"}),
            "RATE_LIMIT_FACTOR": "100000",  # everything that tests do comes from one address
            "DATABASE_POOL_SIZE": "2",  # many stations share one PostgreSQL: few connections stay
            **({} if database_url is None else {"DATABASE_URL": database_url}),
            **(environment or {}),
        }
        self._wrapper = wrapper
        self._forked = forked and not measured and not wrapper
        self._process: subprocess.Popen[str] | ForkedProcess | None = None

    @property
    def process(self) -> subprocess.Popen[str] | ForkedProcess:
        assert self._process is not None, "the station was not started"
        return self._process

    def start(self, *, wait: bool = True) -> "StationProcess":
        """Start it; with ``wait`` until it serves."""
        arguments = ("serve", "--port", str(self.port), "--mqtt-port", str(self.mqtt_port))
        if self._forked:
            self._process = fork_server.start(
                "fieldstation", arguments, environment=self._environment
            )
        else:
            self._process = subprocess.Popen(
                [*self._wrapper, sys.executable, "-m", "fieldstation", *arguments],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.lines = []
        threading.Thread(target=self._read, args=(self._process, self.lines), daemon=True).start()
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        wait_until_blocking(
            lambda: self._ready() or self.process.poll() is not None, timeout_s=START_TIMEOUT_S
        )
        assert self._ready(), f"the station did not start:\n{self.output()}"

    def kill(self) -> None:
        """Kill it without a warning, as a power cut or the kernel would."""
        self.signal(signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        """Ask it to stop and return its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def output(self) -> str:
        return "".join(self.lines)

    def _ready(self) -> bool:
        for line in tuple(self.lines):
            match = READY.search(line)
            if match:
                self.url = match[1]
                self.port = int(self.url.rsplit(":", 1)[1])
                self.mqtt_port = int(match[2]) if match[2].isdigit() else 0
                return True
        return False

    @staticmethod
    def _read(process: subprocess.Popen[str] | ForkedProcess, lines: list[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.append(line)  # noqa: PERF402 - each is looked at as it comes


def is_production(environment: Mapping[str, str] | None) -> bool:
    """Tell whether passwords have to be as dear as they are in service."""
    return environment is not None and environment.get("ENVIRONMENT") == "production"


def not_passed_on(measured: bool) -> tuple[str, ...]:
    """Return how environment names begin that a station does not get.

    Coverage doubles the time to start, so only stations that many tests share are measured.
    """
    return ("FIELDSTATION_",) if measured else ("FIELDSTATION_", "COVERAGE_")


@contextmanager
def running_station(
    data_dir: Path,
    *,
    database_url: str | None = None,
    environment: Mapping[str, str] | None = None,
    measured: bool = False,
) -> Iterator[StationProcess]:
    """Start a station and stop it in the end; ``measured`` takes part in the test coverage."""
    station = StationProcess(
        data_dir, database_url=database_url, environment=environment, measured=measured
    ).start()
    try:
        yield station
    finally:
        if station.process.poll() is None:
            station.stop()
