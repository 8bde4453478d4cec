"""``fieldstation cert``: certificates of the station's own authority."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fieldstation.cli.options import DataDir, settings_of

DIRECTORY = "authority"

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
    if (settings.database.url or "").startswith("postgres"):
        print(
            f"Other nodes on this database need a copy of {settings.station.data_dir / DIRECTORY}"
        )


def write_private(file: Path, content: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(content)
