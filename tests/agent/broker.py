"""A Mosquitto of the test's own, to be killed and started again on the same port."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.services import missing_service
from tests.wait_until import wait_until_blocking


def require_mosquitto() -> str:
    """Return the program; where it is missing, skip visibly or fail if services are required."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        missing_service("mosquitto is not installed")
    assert program
    return program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """One configuration, one port, any number of lives."""

    def __init__(
        self, directory: Path, *, passwords: dict[str, str] | None = None, tls: Path | None = None
    ) -> None:
        self._program = require_mosquitto()
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        self._configuration = directory / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {str(not passwords).lower()}"]
        if passwords:
            lines.append(f"password_file {write_passwords(directory / 'passwords', passwords)}")
        if tls is not None:
            lines += [f"certfile {tls / 'station.pem'}", f"keyfile {tls / 'station.key'}"]
        if os.geteuid() == 0:
            lines.append("user root")
        self._configuration.write_text("\n".join([*lines, ""]))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_blocking(self._accepts)
        except AssertionError:
            self.kill()
            raise

    def kill(self) -> None:
        """End it by SIGKILL; harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "mosquitto did not start"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def write_passwords(path: Path, passwords: dict[str, str]) -> Path:
    path.touch(mode=0o600)
    for user, password in passwords.items():
        subprocess.run(["mosquitto_passwd", "-b", str(path), user, password], check=True)
    return path
