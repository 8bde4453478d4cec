"""The agent as the process that users start."""

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from tests import fork_server
from tests.fork_server import ForkedProcess

DEVICE_ID = "0198c0de-0000-7000-8000-000000000001"
DEVICE_KEY = "fsd_TheKeyThatNoLogMayShow"
SAMPLED = re.compile(r" sampled timestamp=\"([^\"]+)\" readings=(\d+)")


class AgentProcess:
    """A started agent; its log goes to a file, so that it outlives a kill."""

    def __init__(self, process: ForkedProcess, log: Path) -> None:
        self.process = process
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def journal(self) -> dict[str, int]:
        """Return the committed samples: timestamp to number of readings."""
        return {stamp: int(readings) for stamp, readings in SAMPLED.findall(self.log())}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self, number: int = signal.SIGTERM, *, timeout_s: float = 10) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


def agent_environment(directory: Path, port: int, **more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if "FIELDSTATION" not in name}
    return ours | {
        "FIELDSTATION_AGENT_STATION": f"mqtt://127.0.0.1:{port}",
        "FIELDSTATION_AGENT_DEVICE_ID": DEVICE_ID,
        "FIELDSTATION_AGENT_KEY": DEVICE_KEY,
        "FIELDSTATION_AGENT_DATA_DIR": str(directory / "spool"),
        "FIELDSTATION_AGENT_INTERVAL_S": "0.05",
        **more,
    }


@contextlib.contextmanager
def started_agent(
    directory: Path, port: int, *arguments: str, **environment: str
) -> Iterator[AgentProcess]:
    """Start ``python -m fieldstation.agent`` with a short interval and its journal in the log."""
    log = directory / f"agent-{len(list(directory.glob('agent-*.log')))}.log"
    with log.open("wb") as stderr:
        process = fork_server.start(
            "fieldstation.agent",
            ("--verbose", *arguments),
            environment=agent_environment(directory, port, **environment),
            stdout=stderr.fileno(),
        )
    running = AgentProcess(process, log)
    try:
        yield running
    finally:
        running.kill()
