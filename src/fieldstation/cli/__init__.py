"""The command line: one module a command, and only that of the command which runs is loaded."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from fieldstation.core.errors import StationError
from fieldstation.core.settings import SettingsError

COMMANDS = (
    *("serve", "demo", "agent", "migrate", "doctor", "bench"),
    *("user", "backup", "cert", "import"),
)
"""As the help shows them. Each is a module with a function of that name, or with an ``app``."""
NAMED_OTHERWISE = {"import": "import_files"}
"""Commands whose names a module cannot have."""


class Commands(Mapping[str, Any]):
    """Every command by name, loaded when somebody looks at it; the help looks at all."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        python_name = NAMED_OTHERWISE.get(name, name)
        module = import_module(f"{__name__}.{python_name}")
        alone = typer.Typer()
        if hasattr(module, "app"):
            alone.add_typer(module.app, name=name)
        else:
            context = getattr(module, "CONTEXT", None)
            alone.command(name, context_settings=context)(getattr(module, python_name))
        return get_group(alone).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Station(TyperGroup):
    """All commands."""

    def __init__(self, **settings: Any) -> None:
        settings["commands"] = Commands()
        super().__init__(**settings)


app = typer.Typer(
    name="fieldstation",
    cls=Station,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def fieldstation() -> None:
    """One self-hosted station for everything a team runs in the field."""


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong usage; a failure is one sentence."""
    try:
        app()
    except (SettingsError, StationError) as error:
        print(f"fieldstation: {error}", file=sys.stderr)
        raise SystemExit(1) from None
