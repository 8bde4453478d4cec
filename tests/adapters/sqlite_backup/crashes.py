"""Runs a file operation again and again, in processes that die one step later each time.

Usage: python -m tests.adapters.sqlite_backup.crashes create|restore TEMPLATE CASES
Each case starts as a copy of TEMPLATE in CASES/<number>; the last one is the first that finished.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from fieldstation.adapters.sqlite_backup.creation import write_backup
from fieldstation.adapters.sqlite_backup.restoration import restore_backup
from tests.adapters.sqlite_backup.stations import NOW, StationFiles

STEPS_MAX = 300
CHANGES = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "sqlite3.connect"}


def create(case: Path) -> None:
    write_backup(StationFiles(case / "data").sources, output=case / "backups", now=NOW)


def restore(case: Path) -> None:
    files = StationFiles(case / "data")
    (backup,) = (case / "backups").iterdir()
    restore_backup(
        backup,
        station_db=files.station_db,
        telemetry_db=files.telemetry_db,
        node_file=files.directory / "node_id",
        now=NOW,
        force=True,
    )


def finishes(work: Callable[[Path], None], case: Path, *, steps: int) -> bool:
    child = os.fork()
    if child == 0:
        left = steps

        def die_in_time(event: str, _: object) -> None:
            nonlocal left
            if event in CHANGES:
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(die_in_time)
        work(case)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def main(operation: str, template: Path, cases: Path) -> None:
    work = {"create": create, "restore": restore}[operation]
    for steps in range(STEPS_MAX):
        case = cases / f"{steps:03}"
        shutil.copytree(template, case)
        if finishes(work, case, steps=steps):
            return
    raise SystemExit(f"not finished within {STEPS_MAX} steps")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
