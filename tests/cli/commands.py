"""Commands as an operator runs them: a process, its exit code and what it printed."""

import os
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryFile

from tests import fork_server

TIMEOUT_S = 60


def run_command(
    *arguments: str | Path, data_dir: Path, **environment: str
) -> CompletedProcess[str]:
    """Run ``fieldstation`` with a data directory and more environment variables."""
    ours = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        process = fork_server.start(
            "fieldstation",
            tuple(str(argument) for argument in arguments),
            environment={**ours, "DATA_DIR": str(data_dir), **environment},
            stdout=stdout.fileno(),
            stderr=stderr.fileno(),
        )
        try:
            code = process.wait(TIMEOUT_S)
        finally:
            process.kill()
        for file in (stdout, stderr):
            file.seek(0)
        return CompletedProcess(arguments, code, stdout.read(), stderr.read())
