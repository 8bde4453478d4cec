"""``fieldstation cert``: certificates of the station's own authority."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fieldstation.cli.options import DataDir, settings_of
from fieldstation.core.errors import Conflict

app = typer.Typer(help="Issue certificates for devices and for TLS.", no_args_is_help=True)

Days = Annotated[int, typer.Option(min=1, max=3_650, help="How long it is valid.")]
Output = Annotated[Path, typer.Option(help="Directory for the files.")]


@app.command()
def issue(
    device_id: Annotated[str, typer.Argument(help="The device that connects with it.")],
    *,
    days: Days = 365,
    output: Output = Path(),
    data_dir: DataDir = None,
) -> None:
    """Issue a client certificate that lets one device in on the MQTT TLS port, without a password.

    It is revoked like a key: DELETE /api/v1/devices/{id}/keys/{key_id}.

    Example: fieldstation cert issue 0199f3a2-… --days 90 --output certs
    """
    perform("cert.issue", output, device_id, data_dir, device_id=device_id, days=days)


@app.command()
def server(
    host: Annotated[str, typer.Argument(help="Name or address under which clients connect.")],
    *,
    days: Days = 365,
    output: Output = Path(),
    data_dir: DataDir = None,
) -> None:
    """Issue a certificate for MQTT_TLS_CERT_FILE and MQTT_TLS_KEY_FILE.

    Example: fieldstation cert server station.local --output certs
    """
    perform("cert.server", output, host, data_dir, host=host, days=days)


@app.command()
def reset(
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Yes, certificates issued so far may be void.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Replace the certificate authority, when the SECRET_KEY that opens it is lost.

    Every certificate that it signed is void then, of devices as well as of servers. If DATA_DIR of
    this node still holds an authority of an earlier version, that one is taken.

    Example: fieldstation cert reset --force
    """
    from fieldstation.cli.control import perform_operation

    if not force:
        raise Conflict(
            "This makes every certificate that the station has issued void, on all nodes; "
            "repeat it with --force if the SECRET_KEY that opens the authority is really lost"
        )
    done = perform_operation(settings_of(data_dir=data_dir), "cert.reset", {})
    if done["adopted"]:
        print("The station's certificate authority is now that of this node's data directory.")
    else:
        print("The station has a new certificate authority; issue certificates anew.")
    print("Start every node again.")


def perform(operation: str, output: Path, name: str, data_dir: DataDir, **arguments: Any) -> None:
    from fieldstation.cli.control import perform_operation

    settings = settings_of(data_dir=data_dir)
    issued = perform_operation(settings, operation, arguments)
    output.mkdir(parents=True, exist_ok=True)
    files = {
        f"{name}.pem": issued["certificate"],
        f"{name}.key": issued["key"],
        "authority.pem": issued["authority"],
    }
    for file_name, content in files.items():
        write_private(output / file_name, content)
        print(f"Wrote {output / file_name}")


def write_private(file: Path, content: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(content)
