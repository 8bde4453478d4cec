"""``fieldstation backup``: make, list, verify and restore backups of a station on SQLite."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from fieldstation.cli.options import DataDir, settings_of
from fieldstation.core.errors import Conflict
from fieldstation.core.settings import Settings

LISTED_MAX = 100

app = typer.Typer(
    help="Make, list, verify and restore backups of a station on SQLite.", no_args_is_help=True
)
Output = Annotated[
    Path | None, typer.Option(help="Where backups are kept.  [backups in the data directory]")
]
Folder = Annotated[Path, typer.Argument(help="The folder fieldstation-<time> of a backup.")]


@app.command()
def create(*, output: Output = None, data_dir: DataDir = None) -> None:
    """Make a backup, while the station runs or while it does not; needs no pause.

    Example: fieldstation backup create --output /mnt/backups
    """
    settings = settings_of(data_dir=data_dir)
    made = asyncio.run(create_anywhere(settings, backups_of(settings, output)))
    files = made["manifest"]["files"]
    series = files["telemetry.db"]["contents"]["rows"].get("series", 0)
    size = sum(file["size_bytes"] for file in files.values())
    print(f"{made['path']}: {series} series of readings, {megabytes(size)}.")
    print(f"See that it can be restored: fieldstation backup verify {made['path']}")


@app.command("list")
def list_made(*, output: Output = None, data_dir: DataDir = None) -> None:
    """List the newest backups.

    Example: fieldstation backup list
    """
    from fieldstation.adapters.sqlite_backup.manifest import (
        Backup,
        find_unfinished,
        list_backups,
    )

    directory = backups_of(settings_of(data_dir=data_dir), output)
    found = list_backups(directory)
    if not found:
        print(f"No backups in {directory}.")
    for backup in found[:LISTED_MAX]:
        if not isinstance(backup, Backup):
            print(f"DAMAGED  {backup.detail}")
            continue
        manifest = backup.manifest
        size = sum(file.size_bytes for file in manifest.files.values())
        print(
            f"{backup.folder}  {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC  {megabytes(size)}"
            f"  version {manifest.station_version}"
        )
    if len(found) > LISTED_MAX:
        print(f"… and {len(found) - LISTED_MAX} older ones.")
    for partial in find_unfinished(directory):
        print(f"Unfinished (delete it unless a backup is being made now): {partial}")


@app.command()
def verify(path: Folder) -> None:
    """Check a backup byte by byte; exit 1 with one sentence for each fault.

    Example: fieldstation backup verify /mnt/backups/fieldstation-20261122T031500Z
    """
    refuse_faults(path)
    print(f"{path} is whole and can be restored.")


@app.command()
def restore(
    path: Folder,
    *,
    data_dir: DataDir = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move the files of an existing station aside.")
    ] = False,
) -> None:
    """Verify a backup, then put it into the place of a stopped station's files. Deletes nothing.

    Example: fieldstation backup restore /mnt/backups/fieldstation-20261122T031500Z --force
    """
    from fieldstation.adapters.data_directory import NODE_FILE, DataDirectory
    from fieldstation.adapters.sqlite_backup.restoration import restore_backup
    from fieldstation.core.clock import SystemClock

    settings = settings_of(data_dir=data_dir)
    files = sqlite_files(settings, instead="pg_restore for PostgreSQL, mariadb for MariaDB")
    directory = DataDirectory(settings.station.data_dir)
    directory.prepare()
    directory.lock()
    try:
        refuse_faults(path)
        folders = restore_backup(
            path,
            **files,
            node_file=directory.path / NODE_FILE,
            now=SystemClock().now(),
            force=force,
        )
    finally:
        directory.unlock()
    print(f"Restored {path} into {directory.path}.")
    for folder in folders:
        print(f"The files that were there are in {folder}; delete them when you need them no more.")
    if settings.station.node_id is not None:
        print("Give the station another NODE_ID: its intake log continues from an earlier number.")
    print("Start the station: fieldstation serve. A schema that is older is upgraded then.")


def backups_of(settings: Settings, output: Path | None) -> Path:
    """Return the absolute directory of backups: a running station may be somewhere else."""
    from fieldstation.adapters.sqlite_backup.manifest import BACKUPS

    return (output or settings.station.data_dir / BACKUPS).absolute()


async def create_anywhere(settings: Settings, output: Path) -> dict[str, Any]:
    """Have the running station do it, or else do it here, on the schema as it is."""
    from fieldstation.adapters.control import ask_station
    from fieldstation.adapters.data_directory import DataDirectory

    files = sqlite_files(settings, instead="pg_dump for PostgreSQL, mariadb-dump for MariaDB")
    directory = DataDirectory(settings.station.data_dir)
    try:
        return await ask_station(directory.control_socket, "backup.create", {"output": str(output)})
    except (FileNotFoundError, ConnectionRefusedError):
        directory.lock()
    from fieldstation.adapters.sqlite_backup.creation import create_backup
    from fieldstation.core.clock import SystemClock

    try:
        return await create_backup(**files, output=output, clock=SystemClock())
    finally:
        directory.unlock()


def sqlite_files(settings: Settings, *, instead: str) -> dict[str, Path]:
    """Return the two database files. Raises ``Conflict`` where the station is on a server."""
    from fieldstation.db.engines import station_url, telemetry_url

    urls = {"station_db": station_url(settings), "telemetry_db": telemetry_url(settings)}
    if any(url.get_backend_name() != "sqlite" for url in urls.values()):
        raise Conflict(f"fieldstation backup is for SQLite; use {instead}.")
    return {name: Path(url.database or "") for name, url in urls.items()}


def refuse_faults(path: Path) -> None:
    from fieldstation.adapters.sqlite_backup.verification import find_faults
    from fieldstation.migrations.revisions import REVISIONS

    faults = find_faults(path, known_revisions=REVISIONS)
    for fault in faults:
        typer.echo(fault, err=True)
    if faults:
        raise typer.Exit(1)


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
