"""``fieldstation migrate``: bring the databases to the newest schema."""

import asyncio
from typing import Annotated

import typer

from fieldstation.cli.options import DatabaseUrl, DataDir, settings_of


def migrate(
    *,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is missing; exit 1 if anything is.")
    ] = False,
) -> None:
    """Bring the databases to the newest schema; serve does so as well when it starts.

    Example: fieldstation migrate --database-url postgresql://station@db/station
    """
    asyncio.run(run(data_dir, database_url, check=check))


async def run(data_dir: DataDir, database_url: DatabaseUrl, *, check: bool) -> None:
    from fieldstation.adapters.data_directory import DataDirectory
    from fieldstation.db.engines import station_url, telemetry_url
    from fieldstation.migrations.upgrade import pending_revisions, upgrade

    settings = settings_of(data_dir=data_dir, database_url=database_url)
    directory = DataDirectory(settings.station.data_dir)
    directory.prepare()
    targets = {"station": station_url(settings), "telemetry": telemetry_url(settings)}
    if not check:
        directory.lock()
    try:
        for target, url in targets.items():
            missing = await pending_revisions(url, target)
            if missing and not check:
                await upgrade(url, target)
            state = "missing" if check else "applied"
            print(f"{target}: {', '.join(missing) + ' ' + state if missing else 'up to date'}")
            if missing and check:
                raise typer.Exit(1)
    finally:
        directory.unlock()
