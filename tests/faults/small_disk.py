"""A file system of a few MiB in a file: a disk that can really be full."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import missing_service

MIB = 1 << 20


class SmallDisk:
    """A mounted file system, and the ballast that fills it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Take every free block, so that the next one that anybody wants is not there."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (MIB, 4096):
                try:
                    while True:
                        os.write(ballast.fileno(), bytes(size))
                except OSError:
                    continue

    def relieve(self) -> None:
        """Give the blocks back."""
        self._ballast.unlink()


@contextmanager
def small_disk(directory: Path, *, size_bytes: int) -> Iterator[SmallDisk]:
    """Make and mount a file system.

    Without the right or the tools for it a visible skip, or a failure where services are required.
    """
    image, path = directory / "disk.img", directory / "disk"
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        missing_service("only root can mount a file system, made by mkfs.ext4")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", image, path], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        missing_service(f"a file cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", path], check=True)
