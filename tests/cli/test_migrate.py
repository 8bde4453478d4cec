"""``migrate``: what is missing, and bringing it there."""

from pathlib import Path

from typer.testing import CliRunner

from fieldstation.cli import app
from tests.cli.commands import run_command
from tests.services import (
    fresh_mariadb_database,
    fresh_postgresql_database,
    on_mariadb,
    run_apart,
)
from tests.station_process import StationProcess

UP_TO_DATE = "station: up to date\ntelemetry: up to date\n"


def migrate(data_dir: Path, *arguments: str) -> tuple[int, str]:
    """Run it in this process; return its exit code and output."""
    environment = {"DATA_DIR": str(data_dir)}
    done = CliRunner().invoke(app, ["migrate", *arguments], env=environment)
    return done.exit_code, done.output


def test_check_says_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        code, output = migrate(tmp_path, "--check")
        assert code == 1
        assert output.startswith("station: ")
        assert output.strip().endswith("missing")


def test_it_applies_what_is_missing_and_then_nothing(tmp_path: Path) -> None:
    code, output = migrate(tmp_path)
    assert (code, output.count("applied")) == (0, 2)
    assert migrate(tmp_path) == (0, UP_TO_DATE)
    assert migrate(tmp_path, "--check") == (0, UP_TO_DATE)


def test_it_brings_a_server_to_the_newest_schema(tmp_path: Path) -> None:
    with fresh_postgresql_database() as url:
        code, output = migrate(tmp_path, "--database-url", url)
        assert (code, output.count("applied")) == (0, 2)
        assert migrate(tmp_path, "--check", "--database-url", url) == (0, UP_TO_DATE)


def test_half_of_an_upgrade_of_mariadb_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with fresh_mariadb_database() as url:
        half = "CREATE TABLE schema_upgrade_station (x INTEGER)"
        run_apart(on_mariadb(half, database=url.rpartition("/")[2]))
        for arguments in ((), ("--check",)):
            done = run_command("migrate", *arguments, "--database-url", url, data_dir=tmp_path)
            assert done.returncode == 1
            assert "was cut off" in done.stderr
            assert "restore the backup from before the upgrade" in done.stderr
            assert done.stderr.count("\n") == 1


def test_it_does_not_touch_the_files_of_a_running_station(own_station: StationProcess) -> None:
    done = run_command("migrate", data_dir=own_station.data_dir)
    assert done.returncode == 1
    assert "Another station already uses" in done.stderr
    assert migrate(own_station.data_dir, "--check") == (0, UP_TO_DATE)


def test_a_database_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    done = run_command("migrate", "--database-url", url, data_dir=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
