"""Checks of the ports tell a free one, this station's and a stranger's apart."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldstation.adapters.control import ControlServer
from fieldstation.adapters.diagnosis.ports import (
    RunningStation,
    check_port,
    check_station,
    find_station,
)
from fieldstation.adapters.diagnosis.report import Check, Verdict

LOOPBACK = "127.0.0.1"


@pytest.fixture
def held_port() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield int(server.getsockname()[1])


def look(port: int, *, host: str = LOOPBACK, station: RunningStation | None = None) -> Check:
    return check_port("http port", host, port, setting="PORT", station=station)


def test_free_port_is_fine_and_stays_free(held_port: int) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        free = int(server.getsockname()[1])

    assert [look(free).verdict, look(free).verdict] == [Verdict.OK, Verdict.OK]
    assert look(0).verdict is Verdict.OK
    assert look(held_port).verdict is Verdict.FAILURE


def test_port_held_by_another_program_is_a_failure_that_names_the_setting(held_port: int) -> None:
    found = look(held_port)

    assert "held by another program" in found.detail
    assert "PORT" in str(found.advice)


def test_port_held_by_the_running_station_is_fine(held_port: int) -> None:
    assert look(held_port, station=RunningStation(1, frozenset({held_port}))).verdict is Verdict.OK
    assert look(held_port, station=RunningStation(None, None)).verdict is Verdict.OK


def test_port_held_by_a_stranger_beside_a_running_station_is_a_warning(held_port: int) -> None:
    found = look(held_port, station=RunningStation(1, frozenset({held_port + 1})))

    assert found.verdict is Verdict.WARNING


def test_address_of_another_computer_is_a_failure() -> None:
    found = look(8000, host="192.0.2.1")

    assert found.verdict is Verdict.FAILURE
    assert "cannot be used" in found.detail


@pytest.mark.anyio
async def test_station_is_found_by_its_control_socket_with_its_ports(
    tmp_path: Path, held_port: int
) -> None:
    path = tmp_path / "control.sock"
    async with ControlServer(path, {}).listening():
        found = await asyncio.to_thread(find_station, path)

    assert found is not None
    assert found.process_id == os.getpid()
    assert found.ports is not None
    assert held_port in found.ports
    assert str(held_port) in check_station(found).detail


def test_left_over_control_socket_is_no_station(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))

    assert find_station(path) is None
    assert find_station(tmp_path / "none.sock") is None
    assert check_station(None).verdict is Verdict.OK
