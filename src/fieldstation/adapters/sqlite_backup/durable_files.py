"""What makes files and their names survive a power cut."""

import hashlib
import os
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Write a private file and force it to the disk."""
    path.touch(mode=0o600)
    path.write_bytes(content)
    sync(path)


def sync(path: Path) -> None:
    """Force a file's content, or the names in a directory, to the disk.

    Never call it for a database file that this process has open in SQLite: closing any descriptor
    of a file drops every POSIX lock that the process holds on it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the file's digest in hexadecimal; the same warning as for ``sync``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
