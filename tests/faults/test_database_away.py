"""PostgreSQL goes away under load and comes back: refused with 503 or held back, nothing acknowledged lost, no memory eaten."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.clients import StationClient
from tests.faults.oracle import Journal
from tests.faults.proxy import Line, ProxyControl, fault_proxy
from tests.faults.senders import HttpSender, MqttSender, Sender, acknowledged, run_senders
from tests.faults.stored import rows_of_postgresql
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

OUTAGE_S = float(os.environ.get("FAULT_OUTAGE_S", "8"))
SWALLOWED_S = max(OUTAGE_S, 12.0)
"""Longer than the station waits for one answer of its database, so that it finds out in any case."""
QUEUE_READINGS_MAX = 2_000
PADDING_BYTES = 32 * 1024
WINDOW_MESSAGES = 400
MQTT_SENDERS = 4
GROWTH_BYTES_MAX = 16 * 1024 * 1024
"""2,000 queued readings are less than 2 MiB, 4 connections with at most 128 KiB received are 0.5 MiB; the rest is
for connecting again and again. What the clients offer is three times as much: 4 × 400 × 32 KiB = 50 MiB."""
ANSWER_S_MAX = 15.0
RECOVERY_S_MAX = 20.0


class Scene:
    """A station behind the proxy, two organizations that send to it, and one journal for each."""

    def __init__(self, station: StationProcess) -> None:
        self.station = station
        self.clients = [StationClient(station.url).sign_up() for _ in range(2)]
        self.journals = [Journal(), Journal()]
        self.http = [
            HttpSender(station, client.register_device(), journal, batch_readings=10)
            for client, journal in zip(self.clients, self.journals, strict=True)
        ]
        self.mqtt = [
            MqttSender(
                station,
                self.clients[0].register_device(),
                self.journals[0],
                batch_readings=10,
                window_messages_max=WINDOW_MESSAGES,
                padding_bytes=PADDING_BYTES,
            )
            for _ in range(MQTT_SENDERS)
        ]
        self.process = psutil.Process(station.process.pid)

    @property
    def senders(self) -> list[Sender]:
        return [*self.http, *self.mqtt]

    def memory_bytes(self) -> int:
        return self.process.memory_info().rss

    def close(self) -> None:
        for client in self.clients:
            client.http.close()


@contextmanager
def scene(data_dir: Path, database_url: str) -> Iterator[tuple[Scene, ProxyControl]]:
    database = urlsplit(database_url)
    with fault_proxy(database.port or 0) as proxy:
        url = f"postgresql://{database.username}@127.0.0.1:{proxy.port}{database.path}"
        limits = {"INTAKE_QUEUE_READINGS_MAX": str(QUEUE_READINGS_MAX)}
        with running_station(data_dir, database_url=url, environment=limits) as station:
            found = Scene(station)
            try:
                yield found, proxy
            finally:
                found.close()
                proxy.set_line(Line.UP)


class Watch:
    """Looks at the station during the outage, from outside."""

    def __init__(self, found: Scene, http: httpx2.AsyncClient) -> None:
        self.healths: set[str] = set()
        self.lives: set[int] = set()
        self.memory_bytes_max = 0
        self._found = found
        self._http = http

    async def look(self) -> None:
        self.memory_bytes_max = max(self.memory_bytes_max, self._found.memory_bytes())
        self.lives.add((await self._http.get("/health/live")).status_code)

    async def until(self, ends_at: float) -> None:
        async def over() -> bool:
            await self.look()
            return time.monotonic() >= ends_at

        await wait_until(over, timeout_s=2 * SWALLOWED_S + OUTAGE_S)


@pytest.mark.parametrize(
    ("line", "outage_s"),
    [(Line.CUT, OUTAGE_S), (Line.SWALLOWING, SWALLOWED_S)],
    ids=["cut", "swallowing"],
)
async def test_an_absent_database_loses_nothing_acknowledged(
    tmp_path: Path, own_database: str, line: Line, outage_s: float
) -> None:
    with scene(tmp_path / "data", own_database) as (found, proxy):
        async with httpx2.AsyncClient(base_url=found.station.url, timeout=60) as http:
            watch = Watch(found, http)

            async def outage() -> None:
                await wait_until(lambda: all(s.acknowledgements >= 20 for s in found.senders))
                before_bytes = found.memory_bytes()
                proxy.set_line(line)
                ends_at = time.monotonic() + outage_s
                health = await http.get("/health")
                print("health", health.status_code, health.elapsed, health.json()["status"])
                await watch.until(ends_at)
                print("growth MiB", (watch.memory_bytes_max - before_bytes) / 2**20, [len(s.pending) for s in found.senders], [s.statuses for s in found.http], [s.slowest_answer_s for s in found.http])
                proxy.set_line(Line.UP)
                back_at = time.monotonic()
                for sender in found.senders:
                    sender.finish()
                await wait_until(lambda: not any(s.pending for s in found.senders), timeout_s=60)
                print("recovered", time.monotonic() - back_at)

            await run_senders(found.senders, outage)
        print([s.statuses for s in found.http], [s.slowest_answer_s for s in found.http], [s.connections for s in found.mqtt])
        for client, journal in zip(found.clients, found.journals, strict=True):
            journal.verify_by_api(client)
        assert found.station.stop() == 0
        sent = {**found.journals[0].sent, **found.journals[1].sent}
        assert dict(await rows_of_postgresql(own_database)) == sent
