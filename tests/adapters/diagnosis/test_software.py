"""Checks of Python, SQLite, drivers and open files fail where they should."""

import resource
import subprocess
import sys

import pytest

from fieldstation.adapters.diagnosis.report import Verdict
from fieldstation.adapters.diagnosis.software import (
    FILES_BESIDE_CONNECTIONS,
    check_driver,
    check_open_files,
    check_python,
    check_sqlite,
)
from fieldstation.core.settings import read_settings

PROGRAM = """
import resource, sys
from fieldstation.adapters.diagnosis.software import check_open_files
from fieldstation.core.settings import read_settings
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
found = check_open_files(read_settings({}))
print(found.verdict, "-", found.detail)
"""


def test_this_python_is_new_enough_and_an_old_one_is_not() -> None:
    assert check_python().verdict is Verdict.OK
    assert check_python((3, 10, 12)).verdict is Verdict.FAILURE


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 34, 1), Verdict.FAILURE),
        ((3, 40, 1), Verdict.WARNING),
        ((3, 51, 2), Verdict.WARNING),
        ((3, 51, 3), Verdict.OK),
        ((3, 52, 0), Verdict.OK),
    ],
)
def test_sqlite_with_the_race_of_two_writers_is_a_warning(
    version: tuple[int, ...], verdict: Verdict
) -> None:
    found = check_sqlite(version)

    assert found.verdict is verdict
    assert (found.advice is None) == (verdict is Verdict.OK)


def test_the_warning_names_the_rule_of_one_writer() -> None:
    assert "one writer" in str(check_sqlite((3, 40, 1)).advice)


def test_missing_driver_is_a_failure_only_when_it_is_needed() -> None:
    missing = check_driver("mariadb", "no_such_driver", is_needed=True)
    assert missing.verdict is Verdict.FAILURE
    assert "fieldstation[mariadb]" in str(missing.advice)
    assert check_driver("mariadb", "no_such_driver", is_needed=False).verdict is Verdict.OK
    assert check_driver("postgresql", "asyncpg", is_needed=True).verdict is Verdict.OK


@pytest.mark.parametrize(("limit", "verdict"), [(64, "failure"), (1024, "warning")])
def test_low_limit_of_open_files_is_told(limit: int, verdict: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert done.stdout.startswith(f"{verdict} - {limit} files may be open here")


def test_limit_that_covers_the_configured_connections_is_fine() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = str(limit - FILES_BESIDE_CONNECTIONS)

    fits = read_settings({"HTTP_CONNECTIONS_MAX": connections, "ENABLE_MQTT": "false"})
    too_many = read_settings({"HTTP_CONNECTIONS_MAX": connections, "MQTT_CONNECTIONS_MAX": "1"})

    assert check_open_files(fits).verdict is Verdict.OK
    assert check_open_files(too_many).verdict is Verdict.WARNING
