"""``fieldstation bench``: the benchmarks, which live in the source tree beside the package."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

from fieldstation.core.errors import NotFound

NO_NAMES: list[str] = []
CONTEXT: dict[str, Any] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": NO_NAMES,
}


def bench(context: typer.Context) -> None:
    """Measure this computer; needs a checkout of the sources. Options go to the benchmarks.

    Example: fieldstation bench --quick --only P2,P5
    """
    checkout = Path(__file__).parents[3]
    if not (checkout / "bench" / "__main__.py").exists():
        raise NotFound(
            "The benchmarks are not installed with the package; run make bench in a checkout."
        )
    command = [sys.executable, "-m", "bench", *context.args]
    raise typer.Exit(subprocess.run(command, cwd=checkout, check=False).returncode)
