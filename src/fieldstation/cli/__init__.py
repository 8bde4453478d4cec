"""The command line: one module a command, heavy imports only inside the command that needs them."""

import sys

import typer

from fieldstation.cli.agent import agent
from fieldstation.cli.backup import app as backup
from fieldstation.cli.bench import CONTEXT, bench
from fieldstation.cli.cert import app as cert
from fieldstation.cli.demo import demo
from fieldstation.cli.doctor import doctor
from fieldstation.cli.migrate import migrate
from fieldstation.cli.serve import serve
from fieldstation.cli.user import app as user
from fieldstation.core.errors import StationError
from fieldstation.core.settings import SettingsError

app = typer.Typer(
    name="fieldstation",
    help="One self-hosted station for everything a team runs in the field.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve, demo, agent, migrate, doctor):
    app.command()(command)
app.command(context_settings=CONTEXT)(bench)
app.add_typer(user, name="user")
app.add_typer(backup, name="backup")
app.add_typer(cert, name="cert")


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong usage; a failure is one sentence."""
    try:
        app()
    except (SettingsError, StationError) as error:
        print(f"fieldstation: {error}", file=sys.stderr)
        raise SystemExit(1) from None
