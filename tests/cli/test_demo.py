"""``demo``: an administrator, this host as a device, and its figures out of the queries."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.clients import expect
from tests.station_process import READY
from tests.wait_until import wait_until_blocking

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
SECRET = re.compile(r"Password +(\S+)\n")


class Demo:
    """``fieldstation demo`` in a process of its own, and all it printed."""

    def __init__(self, data_dir: Path, *arguments: str, **environment: str) -> None:
        ours = {k: v for k, v in os.environ.items() if not k.startswith("DEMO_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fieldstation", "demo", *arguments],
            env={**ours, "DATA_DIR": str(data_dir), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        wait_until_blocking(
            lambda: "Ctrl-C" in self.output or self.process.poll() is not None,
            timeout_s=START_TIMEOUT_S,
        )
        found = READY.search(self.output)
        assert found is not None, self.output
        self.url, self.mqtt_port = found[1], int(found[2])

    def log_in(self, user: str, password: str) -> httpx2.Response:
        form = {"username": user, "password": password}
        return httpx2.post(f"{self.url}/api/v1/auth/login", json=form)

    def get(self, path: str, token: str) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        return expect(httpx2.get(f"{self.url}{path}", headers=headers), 200)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(STOP_TIMEOUT_S)
        self._reading.join(5)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.output += line


@contextmanager
def demo(data_dir: Path, *arguments: str, **environment: str) -> Iterator[Demo]:
    running = Demo(data_dir, *arguments, **environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.interrupt()


def free_ports() -> tuple[str, ...]:
    return ("--port", "0", "--mqtt-port", "0")


def sensor_types(station: Demo, token: str) -> set[str]:
    items = station.get("/api/v1/readings/latest", token)["items"]
    return {reading["sensor_type"] for reading in items}


def test_this_host_s_own_figures_come_out_of_the_queries(tmp_path: Path) -> None:
    with demo(tmp_path / "data", *free_ports()) as first:
        found = SECRET.search(first.output)
        assert found is not None, first.output
        password = found[1]
        assert first.output.count(f"Password                {password}") == 1
        token = expect(first.log_in("admin", password), 200)["access_token"]
        wait_until_blocking(lambda: "cpu_usage" in sensor_types(first, token), timeout_s=20)
        (device,) = first.get("/api/v1/devices", token)["items"]
        assert device["device_type"] == "edge_host"
        assert device["name"] == socket.gethostname()[:100]
        types = sensor_types(first, token)
        assert any("memory" in name for name in types)
        assert any("disk" in name for name in types)
        readings = first.get(f"/api/v1/devices/{device['id']}/readings", token)["items"]
        assert {reading["source_protocol"] for reading in readings} == {"mqtt"}
        agents = first.children()
        assert len(agents) == 1
        assert first.interrupt() == 0
        assert not any(agent.is_running() for agent in agents)
        assert "Traceback" not in first.output

    with demo(tmp_path / "data", *free_ports()) as second:
        assert password not in second.output
        assert "set-password" in second.output
        token = expect(second.log_in("admin", password), 200)["access_token"]
        assert len(second.get("/api/v1/devices", token)["items"]) == 1
        kept = second.get(f"/api/v1/devices/{device['id']}/readings?limit=10000", token)["items"]
        assert {r["id"] for r in readings} <= {r["id"] for r in kept}


def test_it_takes_the_next_free_ports_and_says_so(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as http,
        socket.create_server(("127.0.0.1", 0)) as mqtt,
    ):
        taken = {"PORT": str(http.getsockname()[1]), "MQTT_LISTEN_PORT": str(mqtt.getsockname()[1])}
        with demo(tmp_path / "data", **taken) as station:
            assert f"HTTP port {taken['PORT']} is in use; taking " in station.output
            assert f"MQTT port {taken['MQTT_LISTEN_PORT']} is in use; taking " in station.output
            assert httpx2.get(f"{station.url}/health/live").status_code == 200
            assert station.interrupt() == 0


def test_the_administrator_may_be_chosen(tmp_path: Path) -> None:
    chosen = {"DEMO_USER": "grace", "DEMO_PASS": "ein Fahrrad im Regen 7"}
    with demo(tmp_path / "data", *free_ports(), **chosen) as station:
        assert station.log_in("grace", chosen["DEMO_PASS"]).status_code == 200
        token = expect(station.log_in("grace", chosen["DEMO_PASS"]), 200)["access_token"]
        assert "system:admin" in str(station.get("/api/v1/auth/me", token))
