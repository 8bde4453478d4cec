"""``fieldstation import``: reads exported files back into a running station."""

from pathlib import Path
from typing import Annotated

import typer

from fieldstation.cli.options import DataDir, settings_of


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files of fieldstation's export: .csv, .jsonl, .parquet, .xlsx.",
            exists=True,
            dir_okay=False,
        ),
    ],
    *,
    organization: Annotated[
        str | None, typer.Option(help="Id or slug of the organization.  [the first one]")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="FILE_ID=DEVICE: the device, by id or name, that a device of the file is here; "
            "repeatable."
        ),
    ] = None,
    create_devices: Annotated[
        bool,
        typer.Option("--create-devices", help="Make devices that are missing, with their ids."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row and store nothing.")
    ] = False,
    from_row: Annotated[
        int, typer.Option(min=1, help="Leave out what is before this row: to go on after a stop.")
    ] = 1,
    report: Annotated[
        Path | None, typer.Option(help="Write every rejected row to this file, as JSON Lines.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Read exported readings into the running station, through its intake.

    A reading that is there already is a duplicate, so an import may be repeated. The station
    decides anew which readings are anomalies. Exit code 1 if a row was rejected.

    Example: fieldstation import readings.parquet --create-devices
    """
    from fieldstation.cli.importing import Devices, run_import

    rejected = run_import(
        settings_of(data_dir=data_dir),
        files,
        organization=organization,
        devices=Devices(dict(map(read_pair, device or ())), create=create_devices),
        dry_run=dry_run,
        from_row=from_row,
        report=report,
    )
    if rejected:
        raise typer.Exit(1)


def read_pair(text: str) -> tuple[str, str]:
    name, sign, meant = text.partition("=")
    if not (name and sign and meant):
        raise typer.BadParameter(f"--device {text}: write FILE_ID=DEVICE.")
    return name, meant
