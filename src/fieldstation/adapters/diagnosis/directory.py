"""Checks of the data directory: who may read it, and how much fits into it."""

import os
import shutil
import stat
from pathlib import Path

from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning

MIB = 1 << 20
FREE_WARNING_BYTES = 1024 * MIB
FREE_FAILURE_BYTES = 100 * MIB


def check_data_directory(path: Path) -> Check:
    name = "data directory"
    try:
        found = path.stat()
    except FileNotFoundError:
        return ok(name, f"{path} does not exist yet; the first start makes it")
    except OSError as error:
        return failure(name, f"{path} cannot be reached ({error.strerror})", "Check its parents.")
    mode = stat.S_IMODE(found.st_mode)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return failure(
            name, f"{path} cannot be written by this user", f"Give it away: chown -R USER {path}"
        )
    if mode & 0o077:
        return failure(name, f"Others may enter {path} (mode {mode:o})", f"chmod 700 {path}")
    if found.st_uid != os.geteuid():
        return warning(
            name,
            f"{path} belongs to user {found.st_uid}, and this is user {os.geteuid()}",
            "Run commands as the user of the station, or files may end up unreadable for it.",
        )
    return ok(name, f"{path} is private (mode {mode:o})")


def check_secret_file(path: Path) -> Check:
    name = "secret file"
    try:
        found = path.stat()
    except FileNotFoundError:
        return ok(name, "None; it is made at the first start unless SECRET_KEY is set")
    except OSError as error:
        return failure(name, f"{path} cannot be reached ({error.strerror})", "Check its directory.")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return failure(
            name,
            f"Others may read {path} (mode {mode:o})",
            f"chmod 600 {path}; if anybody had access, set SECRET_KEY, start, and delete it: "
            "all sessions then end, and what it had sealed stays readable.",
        )
    return ok(name, f"{path} is private (mode {mode:o})")


def check_free_space(
    path: Path,
    *,
    warning_bytes: int = FREE_WARNING_BYTES,
    failure_bytes: int = FREE_FAILURE_BYTES,
) -> Check:
    name = "free space"
    try:
        free = shutil.disk_usage(nearest_existing(path)).free
    except OSError as error:
        return failure(name, f"{path} cannot be reached ({error.strerror})", "Check its parents.")
    detail = f"{free / MIB:,.0f} MiB free for {path}"
    advice = "Free some space: on a full disk the station acknowledges nothing."
    if free < failure_bytes:
        return failure(name, detail, advice)
    if free < warning_bytes:
        return warning(name, detail, advice)
    return ok(name, detail)


def nearest_existing(path: Path) -> Path:
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())
