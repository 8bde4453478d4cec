"""``user``: accounts of a running station, and of one that stands still."""

import re
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from fieldstation.cli import app
from tests.cli.commands import run_command
from tests.clients import expect
from tests.live_client import live
from tests.station_process import StationProcess

PASSWORD = re.compile(r"Password \(shown only now\): (\S.*)")


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


def test_a_user_made_by_a_running_station_can_log_in(own_station: StationProcess) -> None:
    directory = own_station.data_dir
    password = create(directory, "ada@lab.example.org", "--username", "ada", "--superuser")
    token = expect(log_in(own_station, "ada", password), 200)["access_token"]
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.1"}
    assert httpx2.get(f"{own_station.url}/metrics", headers=headers).status_code == 200
    create(directory, "bob@lab.example.org", "--role", "viewer")
    listed = run_command("user", "list", data_dir=directory)
    assert listed.returncode == 0
    assert [line.split()[1] for line in listed.stdout.splitlines()] == [
        "ada@lab.example.org",
        "bob@lab.example.org",
    ]
    assert password not in own_station.output()


def test_a_new_password_ends_the_user_s_sessions(own_station: StationProcess) -> None:
    directory = own_station.data_dir
    old = create(directory, "ada@lab.example.org", "--username", "ada")
    token = expect(log_in(own_station, "ada", old), 200)["access_token"]
    with live(own_station.url, token=token) as socket:
        assert socket.ping()["type"] == "pong"
        done = run_command("user", "set-password", "ada", data_dir=directory)
        new = shown_password(done.stdout)
        assert socket.wait_until_closed()[0] == 1008
    assert log_in(own_station, "ada", old).status_code == 401
    assert log_in(own_station, "ada", new).status_code == 200


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


def test_a_viewer_made_here_cannot_write(own_station: StationProcess) -> None:
    directory = own_station.data_dir
    password = create(directory, "vera@lab.example.org", "--username", "vera", "--role", "viewer")
    token = expect(log_in(own_station, "vera", password), 200)["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    devices = f"{own_station.url}/api/v1/devices"
    assert httpx2.get(devices, headers=headers).status_code == 200
    assert httpx2.post(devices, headers=headers, json={"name": "x"}).status_code == 403
    assert (
        httpx2.get(
            f"{own_station.url}/metrics", headers={**headers, "X-Forwarded-For": "192.0.2.1"}
        ).status_code
        == 403
    )


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


def test_a_mistake_is_one_sentence_of_the_running_station(own_station: StationProcess) -> None:
    create(own_station.data_dir, "ada@lab.example.org")
    make_mistakes(own_station.data_dir, MISTAKES)
    listed = run_command("user", "list", data_dir=own_station.data_dir)
    assert len(listed.stdout.splitlines()) == 1


def test_a_mistake_is_one_sentence_without_a_station(tmp_path: Path) -> None:
    make_mistakes(tmp_path / "data", MISTAKES[1:])


@pytest.mark.parametrize("usage", ["user create", "user list extra", "user set-password"])
def test_wrong_usage_ends_with_2(usage: str) -> None:
    assert CliRunner().invoke(app, usage.split()).exit_code == 2
