"""One process at a time works in a data directory, and its node keeps its name."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from fieldstation.adapters.data_directory import DataDirectory, DirectoryInUse
from fieldstation.core.settings import SettingsError


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "a" / "b")
    directory.prepare()
    directory.prepare()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_second_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.lock()
    with pytest.raises(DirectoryInUse, match="Another station already uses"):
        second.lock()
    first.unlock()
    first.unlock()
    second.lock()
    second.unlock()


def test_the_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from fieldstation.adapters.data_directory import DataDirectory\n"
        "DataDirectory(Path(sys.argv[1])).lock()\nprint('locked', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(DirectoryInUse):
            DataDirectory(tmp_path).lock()
        holder.kill()
        holder.wait(10)
    DataDirectory(tmp_path).lock()


def test_what_cannot_be_made_or_written_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SettingsError, match="DATA_DIR: cannot make"):
        DataDirectory(file / "below").prepare()
    with pytest.raises(SettingsError, match="DATA_DIR: cannot make"):
        DataDirectory(file).prepare()
    with pytest.raises(SettingsError, match="DATA_DIR: cannot write"):
        DataDirectory(tmp_path / "missing").lock()


def test_a_node_keeps_the_name_that_was_made_once(tmp_path: Path) -> None:
    name = DataDirectory(tmp_path).node_id(None)
    assert uuid.UUID(name).version == 7
    assert DataDirectory(tmp_path).node_id(None) == name
    assert DataDirectory(tmp_path).node_id("configured") == "configured"
    assert DataDirectory(tmp_path).node_id(None) == name


@pytest.mark.parametrize("written", ["", "\n"])
def test_a_name_that_a_power_cut_left_empty_is_made_anew(tmp_path: Path, written: str) -> None:
    (tmp_path / "node_id").write_text(written)
    name = DataDirectory(tmp_path).node_id(None)
    assert uuid.UUID(name)
    assert DataDirectory(tmp_path).node_id(None) == name
