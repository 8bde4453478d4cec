"""``user``: accounts of a running station, and of one that stands still."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from fieldstation.cli import app
from tests.cli.commands import run_command
from tests.clients import expect
from tests.live_client import live
from tests.station_process import StationProcess, running_station

PASSWORD = re.compile(r"Password \(shown only now\): (\S.*)")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    """A station that these tests share."""
    with running_station(tmp_path_factory.mktemp("user") / "data") as station:
        yield station


def shown_password(output: str) -> str:
    found = PASSWORD.search(output)
    assert found is not None, output
    return found[1]


def create(data_dir: Path, *arguments: str) -> str:
    done = run_command("user", "create", *arguments, data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    return shown_password(done.stdout)


def log_in(station: StationProcess, login: str, password: str) -> httpx2.Response:
    form = {"username": login, "password": password}
    return httpx2.post(f"{station.url}/api/v1/auth/login", json=form)


def one_sentence(stderr: str) -> str:
    assert len(stderr.strip().splitlines()) == 1, stderr
    return stderr.strip()


def test_users_made_by_a_running_station_can_log_in(standing: StationProcess) -> None:
    directory = standing.data_dir
    passwords = {
        "ada": create(directory, "ada@lab.example.org", "--username", "ada", "--superuser"),
        "vera": create(directory, "vera@lab.example.org", "--username", "vera", "--role", "viewer"),
    }
    listed = run_command("user", "list", data_dir=directory)
    assert listed.returncode == 0
    assert [line.split()[1] for line in listed.stdout.splitlines()] == [
        "ada@lab.example.org",
        "vera@lab.example.org",
    ]
    statuses = {}
    for name, password in passwords.items():
        token = expect(log_in(standing, name, password), 200)["access_token"]
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.1"}
        devices = f"{standing.url}/api/v1/devices"
        statuses[name] = (
            httpx2.get(f"{standing.url}/metrics", headers=headers).status_code,
            httpx2.get(devices, headers=headers).status_code,
            httpx2.post(devices, headers=headers, json={"name": "x"}).status_code,
        )
        assert password not in standing.output()
    assert statuses == {"ada": (200, 200, 201), "vera": (403, 200, 403)}


def test_a_new_password_ends_the_user_s_sessions(standing: StationProcess) -> None:
    directory = standing.data_dir
    old = create(directory, "grace@lab.example.org", "--username", "grace")
    token = expect(log_in(standing, "grace", old), 200)["access_token"]
    with live(standing.url, token=token) as socket:
        assert socket.ping()["type"] == "pong"
        done = run_command("user", "set-password", "grace", data_dir=directory)
        new = shown_password(done.stdout)
        assert socket.wait_until_closed()[0] == 1008
    assert log_in(standing, "grace", old).status_code == 401
    assert log_in(standing, "grace", new).status_code == 200


def test_a_station_that_stands_still_is_worked_on_directly(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    first = create(directory, "ada@lab.example.org", "--username", "ada")
    done = run_command("user", "set-password", "ada@lab.example.org", data_dir=directory)
    second = shown_password(done.stdout)
    station = StationProcess(directory).start()
    try:
        assert log_in(station, "ada", first).status_code == 401
        assert log_in(station, "ada", second).status_code == 200
    finally:
        station.stop()


MISTAKES: list[tuple[str, ...]] = [
    ("create", "ADA@lab.example.org"),
    ("create", "bob@lab.example.org", "--role", "emperor"),
    ("create", "no address"),
    ("set-password", "nobody"),
]


def make_mistakes(data_dir: Path, mistakes: list[tuple[str, ...]]) -> None:
    for arguments in mistakes:
        done = run_command("user", *arguments, data_dir=data_dir)
        assert done.returncode in {1, 2}, arguments
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode == 1:
            assert one_sentence(done.stderr).startswith("fieldstation: ")


def test_a_mistake_is_one_sentence_of_the_running_station(standing: StationProcess) -> None:
    make_mistakes(standing.data_dir, MISTAKES)


def test_a_mistake_is_one_sentence_without_a_station(tmp_path: Path) -> None:
    make_mistakes(tmp_path / "data", MISTAKES[1::2])


@pytest.mark.parametrize("usage", ["user create", "user list extra", "user set-password"])
def test_wrong_usage_ends_with_2(usage: str) -> None:
    assert CliRunner().invoke(app, usage.split()).exit_code == 2
