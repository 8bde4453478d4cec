"""Commands as an operator runs them: a process, its exit code and what it printed."""

import os
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 60


def run_command(
    *arguments: str | Path, data_dir: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``fieldstation`` with a data directory and more environment variables."""
    ours = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "fieldstation", *arguments],
        env={**ours, "DATA_DIR": str(data_dir), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
