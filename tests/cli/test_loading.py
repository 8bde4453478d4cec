"""Starting is mostly importing, so nobody loads what only other stations or commands need."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldstation.cli import COMMANDS
from tests.cli.commands import run_command
from tests.station_process import StationProcess

RARELY_NEEDED = frozenset(
    {
        "alembic",  # only to change a schema
        "httpx2",  # only to ask other hosts
        "paho",  # only for the agent
        "asyncpg",
        "asyncmy",
        "pyarrow",
        "xlsxwriter",
        "redis",
        "opentelemetry.sdk",
        "fieldstation.agent",
        "fieldstation.cli.doctor",
    }
)
NAMED = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has Python name what it imports."""


def imported(output: str) -> Iterator[str]:
    for line in output.splitlines():
        if line.startswith("import time:"):
            yield line.rpartition("|")[2].strip()


def run_alone(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that no fork has imported anything for."""
    return subprocess.run(
        [sys.executable, "-m", "fieldstation", *arguments],
        env={**os.environ, "DATA_DIR": str(data_dir), **NAMED},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_start_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    station = StationProcess(tmp_path, environment=NAMED, forked=False).start()
    try:
        first = set(imported(station.output()))
        station.stop()
        again = set(imported(station.start().output()))
    finally:
        station.stop()
    assert {"fastapi", "sqlalchemy", "fieldstation.serving"} <= again
    assert first & RARELY_NEEDED == {"alembic"}, "a new directory gets its tables"
    assert again & RARELY_NEEDED == set()


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        (("backup", "list"), {"alembic", "fastapi", "sqlalchemy"}),
        (("doctor",), {"alembic", "fastapi", "httpx2", "paho"}),
        (("migrate", "--check"), {"alembic", "fastapi", "numpy", "paho"}),
        (("agent", "--once"), {"fastapi", "numpy", "sqlalchemy"}),
    ],
)
def test_a_command_loads_no_other(
    tmp_path: Path, command: tuple[str, ...], unneeded: set[str]
) -> None:
    found = set(imported(run_alone(*command, data_dir=tmp_path).stderr))
    others = {f"fieldstation.cli.{name}" for name in COMMANDS if name != command[0]}
    assert "fieldstation.cli" in found
    assert found & (others | unneeded) == set()


def test_what_a_running_station_does_needs_no_second_one(own_station: StationProcess) -> None:
    done = run_alone("user", "list", data_dir=own_station.data_dir)
    found = set(imported(done.stderr))
    assert done.returncode == 0
    assert "fieldstation.adapters.control" in found
    assert found & {"fastapi", "numpy", "sqlalchemy"} == set()


def test_the_help_lists_every_command_and_a_slip_is_met_with_what_was_meant(
    tmp_path: Path,
) -> None:
    shown = run_command("--help", data_dir=tmp_path)
    listed = [line.split()[1] for line in shown.stdout.splitlines() if line.startswith("│ ")]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)
    slip = run_command("sreve", data_dir=tmp_path)
    assert slip.returncode == 2
    assert "Did you mean 'serve'?" in slip.stderr
