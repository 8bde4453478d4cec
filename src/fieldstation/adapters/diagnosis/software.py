"""Checks of what the station runs on: Python, SQLite, drivers, open files."""

import platform
import resource
import sqlite3
import sys
from importlib.util import find_spec

from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning
from fieldstation.core.settings import Settings

Version = tuple[int, ...]

PYTHON_MIN: Version = (3, 11)
SQLITE_MIN: Version = (3, 35, 0)
# https://sqlite.org/wal.html: in these, two connections that write or checkpoint at the same time
# may corrupt the file.
WAL_RACE_FIRST: Version = (3, 7, 0)
WAL_RACE_LAST: Version = (3, 51, 2)
FILES_BESIDE_CONNECTIONS = 100
FILES_MIN = 256


def check_python(version: Version = tuple(sys.version_info[:3])) -> Check:
    text = dotted(version)
    if version < PYTHON_MIN:
        return failure("python", f"Python {text}", f"Install Python {dotted(PYTHON_MIN)} or newer.")
    return ok("python", f"Python {text} on {platform.system()} {platform.machine()}")


def check_sqlite(version: Version = sqlite3.sqlite_version_info) -> Check:
    text = f"SQLite {dotted(version)} is linked"
    if version < SQLITE_MIN:
        return failure(
            "sqlite version", text, f"Use a Python with SQLite {dotted(SQLITE_MIN)} or newer."
        )
    if WAL_RACE_FIRST <= version <= WAL_RACE_LAST:
        return warning(
            "sqlite version",
            f"{text}; up to {dotted(WAL_RACE_LAST)} two writing connections may damage a file",
            "The station keeps to one writer; open its files in no other program while it runs.",
        )
    return ok("sqlite version", text)


def check_driver(database: str, module: str, *, is_needed: bool) -> Check:
    """Look for the driver of a database; its extra has the database's name."""
    name = f"{database} driver"
    if find_spec(module) is not None:
        return ok(name, f"{module} is installed")
    if is_needed:
        return failure(
            name,
            f"{module} is not installed, and the settings name a {database} database",
            f"Install it: pip install 'fieldstation[{database}]'",
        )
    return ok(name, f"{module} is not installed, and not needed here")


def check_open_files(settings: Settings) -> Check:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = (
        settings.http.connections_max
        + (settings.mqtt.connections_max if settings.mqtt.enabled else 0)
        + FILES_BESIDE_CONNECTIONS
    )
    detail = f"{limit} files may be open here; the configured connections need {needed}"
    advice = (
        f"Raise it (ulimit -n {needed}, or LimitNOFILE= in the unit), "
        "or lower HTTP_CONNECTIONS_MAX and MQTT_CONNECTIONS_MAX."
    )
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return ok("open files", detail)
    return (failure if limit < FILES_MIN else warning)("open files", detail, advice)


def dotted(version: Version) -> str:
    return ".".join(map(str, version))
