"""Puts a verified backup in the place of a station's files, and never deletes the old ones."""

import os
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from fieldstation.adapters.sqlite_backup.durable_files import sha256_of, sync, write_file
from fieldstation.adapters.sqlite_backup.manifest import read_manifest
from fieldstation.core.errors import Busy, Conflict

NOTICE = b"Not a database yet: a restore was interrupted. Run fieldstation backup restore again.\n"
LOG_SUFFIXES = ("-wal", "-shm", "-journal")


def restore_backup(
    backup: Path,
    *,
    station_db: Path,
    telemetry_db: Path,
    node_file: Path,
    now: datetime,
    force: bool,
) -> list[Path]:
    """Put the backup's files into place; return the folders into which the old ones were moved.

    The caller has verified the backup and holds the lock of the data directory. Between the old
    ``station.db`` and the new one a notice takes its place, which no station starts on: a crash in
    the middle leaves neither a mixture nor an empty station. Run again, it finishes. The node's
    name moves aside as well: a station that goes back in time numbers the entries of its intake log
    anew, and live clients must not take them for those that they have seen. Raises ``Conflict`` (a
    station is there and not ``force``) and ``Busy`` (no room, no right to write).
    """
    files = {"station.db": station_db, "telemetry.db": telemetry_db}
    old = [*existing(files.values()), *(file for file in [node_file] if file.exists())]
    if not force and any(file != node_file for file in old):
        raise Conflict(
            f"A station exists already: {old[0]}."
            " With --force its files are moved aside, not deleted."
        )
    aside = f"replaced-{now:%Y%m%dT%H%M%SZ}"
    staged: dict[str, Path] = {}
    try:
        for name, target in files.items():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            staged[name] = target.with_name(f"{target.name}.restoring")
        stage(backup, staged)
        folders = move_aside(old, station_db=station_db, aside=aside)
        for name in ("telemetry.db", "station.db"):
            staged[name].replace(files[name])
            sync(files[name].parent)
    except OSError as error:
        raise Busy(
            f"The restore could not be finished ({error}); nothing was deleted."
            " See that there is room and the right to write, then run it again."
        ) from error
    finally:
        for path in staged.values():
            path.unlink(missing_ok=True)
    return folders


def existing(databases: Iterable[Path]) -> list[Path]:
    """Return the files of a station that are there, each database followed by its logs."""
    return [
        file
        for database in databases
        for file in (
            database,
            *(database.with_name(database.name + suffix) for suffix in LOG_SUFFIXES),
        )
        if file.exists() and not is_notice(file)
    ]


def is_notice(file: Path) -> bool:
    if file.stat().st_size != len(NOTICE):
        return False
    return file.read_bytes() == NOTICE


def stage(backup: Path, staged: dict[str, Path]) -> None:
    """Copy the backup to the disk of the station, and look once more that it is the same."""
    manifest = read_manifest(backup)
    for name, path in staged.items():
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        shutil.copyfile(backup / name, path)
        sync(path)
        if sha256_of(path) != manifest.files[name].sha256:
            raise Conflict(f"{name} of the backup changed while it was copied; verify it again.")


def move_aside(old: Sequence[Path], *, station_db: Path, aside: str) -> list[Path]:
    """Move the old files into a folder beside each; leave the notice in place of the station's.

    They get their second name before any of them loses its first one, so that a log never parts
    from its database.
    """
    folders = list(dict.fromkeys(file.parent / aside for file in old))
    for folder in folders:
        folder.mkdir(mode=0o700)
    for file in old:
        os.link(file, file.parent / aside / file.name)
    for folder in folders:
        sync(folder)
        sync(folder.parent)
    notice = station_db.with_name(f"{station_db.name}.notice")
    write_file(notice, NOTICE)
    notice.replace(station_db)
    sync(station_db.parent)
    for file in old:
        if file != station_db:
            file.unlink()
    for folder in folders:
        sync(folder.parent)
    return folders
