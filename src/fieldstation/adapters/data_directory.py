"""The station's directory: made private, locked against a second process, and the home of this
node's name."""

import fcntl
import os
from pathlib import Path

from fieldstation.core.ids import new_id
from fieldstation.core.settings import SettingsError

LOCK_FILE = "station.lock"
NODE_FILE = "node_id"
CONTROL_SOCKET = "control.sock"


class DirectoryInUse(SettingsError):
    """Another station works in this directory."""


class DataDirectory:
    """Owned by one process at a time; the lock goes with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def control_socket(self) -> Path:
        """Where a running station listens for the command line."""
        return self.path / CONTROL_SOCKET

    def prepare(self) -> None:
        """Make the directory, readable by its owner only. Raises ``SettingsError``."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SettingsError(
                f"DATA_DIR: cannot make {self.path} ({error.strerror}); "
                "choose another with --data-dir"
            ) from error

    def lock(self) -> None:
        """Take the directory for this process. Raises ``DirectoryInUse`` or ``SettingsError``."""
        try:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SettingsError(
                f"DATA_DIR: cannot write in {self.path} ({error.strerror}); check its permissions"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise DirectoryInUse(
                f"Another station already uses {self.path}; stop it, or choose another --data-dir"
            ) from error
        self._descriptor = descriptor

    def unlock(self) -> None:
        """Let others take the directory; harmless when repeated."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def node_id(self, configured: str | None) -> str:
        """Return this node's name: the configured one, or one that is made once and kept here."""
        if configured is not None:
            return configured
        file = self.path / NODE_FILE
        known = file.read_text().strip() if file.exists() else ""
        if known:
            return known
        name = new_id()
        draft = file.with_suffix(".new")
        draft.write_text(name)
        draft.replace(file)
        return name
