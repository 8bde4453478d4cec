"""A MariaDB server of a test's own, with options that the shared one does not have."""

import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import missing_service
from tests.wait_until import wait_until_blocking

STOP_TIMEOUT_S = 30


class MariadbProcess:
    """``mariadbd`` on a directory and a port that it keeps; ``root`` has no password."""

    def __init__(self, directory: Path) -> None:
        program, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
        if program is None or install is None:
            missing_service("mariadbd is not installed")
        self._directory = directory
        self._program = program
        self._options = ["--no-defaults", f"--datadir={directory}", f"--user={getpass.getuser()}"]
        subprocess.run(
            [install, *self._options, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            capture_output=True,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self, *options: str) -> Iterator[str]:
        """Run it with more options while the block lasts; give the URL of its database ``mysql``,
        without any options."""
        self._process = subprocess.Popen(
            [
                *(self._program, *self._options, *options),
                *(f"--port={self.port}", "--bind-address=127.0.0.1"),
                *(f"--socket={self._directory / 'socket'}", "--skip-log-bin"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_blocking(self._answers)
            yield f"mysql://root@127.0.0.1:{self.port}/mysql"
        finally:
            self._process.terminate()
            self._process.wait(STOP_TIMEOUT_S)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "mariadbd did not start"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return bool(connection.recv(1))
        except OSError:
            return False
