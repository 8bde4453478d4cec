"""Lets ``python -m fieldstation.agent`` start the agent without the rest of the station."""

import typer

from fieldstation.agent.command import agent

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(agent)

if __name__ == "__main__":
    app(prog_name="fieldstation agent")
