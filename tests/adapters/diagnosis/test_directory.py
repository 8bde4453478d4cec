"""Checks of the data directory see who may read it, and how full its disk is."""

import os
from pathlib import Path

import pytest

from fieldstation.adapters.diagnosis.directory import (
    check_data_directory,
    check_free_space,
    check_secret_file,
)
from fieldstation.adapters.diagnosis.report import Verdict

NOBODY = 65_534


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


def test_private_directory_is_fine_and_so_is_none_yet(directory: Path, tmp_path: Path) -> None:
    assert check_data_directory(directory).verdict is Verdict.OK
    assert check_data_directory(tmp_path / "none").verdict is Verdict.OK


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o707])
def test_directory_that_others_may_enter_is_a_failure(directory: Path, mode: int) -> None:
    directory.chmod(mode)

    found = check_data_directory(directory)

    assert found.verdict is Verdict.FAILURE
    assert found.advice == f"chmod 700 {directory}"


def test_directory_of_another_user_is_told(directory: Path) -> None:
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
        expected = Verdict.WARNING
    else:
        directory.chmod(0o500)  # nobody but root can give a directory away, but anybody can lock it
        expected = Verdict.FAILURE

    assert check_data_directory(directory).verdict is expected


def test_path_below_a_file_is_a_failure(directory: Path) -> None:
    (directory / "file").touch()

    assert check_data_directory(directory / "file" / "data").verdict is Verdict.FAILURE
    assert check_secret_file(directory / "file" / "secret_key").verdict is Verdict.FAILURE


def test_secret_that_others_may_read_is_a_failure(directory: Path) -> None:
    secret = directory / "secret_key"
    assert check_secret_file(secret).verdict is Verdict.OK
    secret.touch(mode=0o600)
    assert check_secret_file(secret).verdict is Verdict.OK

    secret.chmod(0o640)

    found = check_secret_file(secret)
    assert found.verdict is Verdict.FAILURE
    assert f"chmod 600 {secret}" in str(found.advice)


def test_little_space_is_a_warning_and_less_a_failure(directory: Path) -> None:
    roomy, huge = 1, 1 << 60

    assert check_free_space(directory, warning_bytes=roomy, failure_bytes=roomy).verdict is (
        Verdict.OK
    )
    assert check_free_space(directory, warning_bytes=huge, failure_bytes=roomy).verdict is (
        Verdict.WARNING
    )
    assert check_free_space(directory, warning_bytes=huge, failure_bytes=huge).verdict is (
        Verdict.FAILURE
    )


def test_space_is_that_of_the_disk_where_the_directory_will_be(directory: Path) -> None:
    found = check_free_space(directory / "not" / "yet", warning_bytes=1, failure_bytes=1)

    assert found.verdict is Verdict.OK
