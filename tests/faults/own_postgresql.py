"""A PostgreSQL server of a test's own, which it may kill: a process on a free port."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.services import missing_service
from tests.wait_until import wait_until_blocking

ACCOUNT = "postgres"
"""Whom root runs the server as, which refuses to run as root."""
PROGRAMS = "lib/postgresql/*/bin"
START_TIMEOUT_S = 30.0


class OwnPostgresql:
    """The server; ``start`` again after ``kill`` recovers what was committed."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self._directory = directory
        self._programs = programs
        self._account = ACCOUNT if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"postgresql://{ACCOUNT}@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make its files."""
        options = ["--username", ACCOUNT, "--auth", "trust", "--no-sync", "--no-instructions"]
        subprocess.run(
            [self._programs / "initdb", *options, self._directory / "cluster"],
            check=True,
            capture_output=True,
            user=self._account,
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._directory / "cluster", *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._account,
            )
        wait_until_blocking(self._takes_connections, timeout_s=START_TIMEOUT_S)

    def kill(self) -> None:
        """Kill it and every process of it at once, as a power cut would."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        whole = [server, *server.children(recursive=True)]
        for process in whole:
            with suppress(psutil.NoSuchProcess):  # one whose client has just left
                process.suspend()  # so that none of them sees another one die
        for process in whole:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(whole)
        self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.kill()

    def _takes_connections(self) -> bool:
        asked = subprocess.run(
            [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False,
        )
        return asked.returncode == 0


def version(programs: Path) -> float:
    return float(programs.parent.name)


@contextmanager
def own_postgresql() -> Iterator[OwnPostgresql]:
    """Start a server that has nothing yet; it and its files are gone in the end."""
    programs = max(Path("/usr").glob(PROGRAMS), key=version, default=None)
    if programs is None:
        missing_service("no PostgreSQL server programs under /usr/lib/postgresql")
    # Not a test's own directory: nobody but its owner may enter that.
    directory = Path(tempfile.mkdtemp(prefix="fieldstation-postgresql-"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(ACCOUNT)
        os.chown(directory, account.pw_uid, account.pw_gid)
    server = OwnPostgresql(directory, programs)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(directory)
