"""``migrate``: what is missing, and bringing it there."""

from pathlib import Path

from tests.cli.commands import run_command
from tests.services import fresh_postgresql_database
from tests.station_process import StationProcess


def test_check_says_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        done = run_command("migrate", "--check", data_dir=tmp_path)
        assert done.returncode == 1
        assert done.stdout.startswith("station: ")
        assert done.stdout.strip().endswith("missing")


def test_it_applies_what_is_missing_and_then_nothing(tmp_path: Path) -> None:
    first = run_command("migrate", data_dir=tmp_path)
    assert (first.returncode, first.stdout.count("applied")) == (0, 2)
    second = run_command("migrate", data_dir=tmp_path)
    assert second.stdout == "station: up to date\ntelemetry: up to date\n"
    check = run_command("migrate", "--check", data_dir=tmp_path)
    assert (check.returncode, check.stdout) == (0, second.stdout)


def test_it_brings_a_server_to_the_newest_schema(tmp_path: Path) -> None:
    with fresh_postgresql_database() as url:
        done = run_command("migrate", "--database-url", url, data_dir=tmp_path)
        assert (done.returncode, done.stdout.count("applied")) == (0, 2)
        check = run_command("migrate", "--check", "--database-url", url, data_dir=tmp_path)
        assert check.returncode == 0


def test_it_does_not_touch_the_files_of_a_running_station(own_station: StationProcess) -> None:
    done = run_command("migrate", data_dir=own_station.data_dir)
    assert done.returncode == 1
    assert "Another station already uses" in done.stderr
    check = run_command("migrate", "--check", data_dir=own_station.data_dir)
    assert (check.returncode, check.stdout.count("up to date")) == (0, 2)


def test_a_database_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    done = run_command("migrate", "--database-url", url, data_dir=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
