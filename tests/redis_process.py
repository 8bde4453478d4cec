"""A Redis server of a test's own, which may be killed."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import missing_service
from tests.wait_until import wait_until_blocking


class RedisProcess:
    """``redis-server`` on a port that it keeps; nothing is saved."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            missing_service("redis-server is not installed")
        self._program = program
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": self._directory}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([self._program, *words], stdout=subprocess.DEVNULL)
        wait_until_blocking(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def keys(self, pattern: str) -> list[str]:
        """Return the names of what is stored."""
        program = shutil.which("redis-cli")
        if program is None:
            missing_service("redis-cli is not installed")
        command = [program, "-p", str(self.port), "--raw", "keys", pattern]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def running_redis(directory: Path) -> Iterator[RedisProcess]:
    redis = RedisProcess(directory)
    redis.start()
    try:
        yield redis
    finally:
        redis.kill()
