"""A server goes away under load and comes back: nothing acknowledged is lost, no memory eaten.

Requests are refused with 503, MQTT clients are held back and acknowledged later on the same
connection. The server itself stays up; a proxy in front of it goes away. FAULT_OUTAGE_S makes the
outage longer than a test run can afford.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.clients import StationClient
from tests.faults.mqtt_link import MqttLink, puback, publish_frame
from tests.faults.oracle import Journal
from tests.faults.proxy import COMMIT, Line, ProxyControl, fault_proxy
from tests.faults.senders import HttpSender, MqttSender, Sender, run_senders
from tests.faults.stored import logged_in_postgresql, rows_of
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

OUTAGE_S = float(os.environ.get("FAULT_OUTAGE_S", "4"))
"""Long enough to fill every queue and for five attempts to commit."""
SWALLOWED_S = max(OUTAGE_S, 12.0)
"""Longer than the station waits for one answer of its database, so that it finds out."""
QUEUE_READINGS_MAX = 2_000
PADDING_BYTES = 32 * 1024
WINDOW_MESSAGES = 400
MQTT_SENDERS = 4
GROWTH_BYTES_MAX = 16 * 1024 * 1024
"""2,000 queued readings are less than 2 MiB, and 4 connections with at most 128 KiB received are
0.5 MiB; the rest is for connecting again and again. What the clients want to send is three times
as much: 4 × 400 × 32 KiB = 50 MiB."""
ANSWER_S_MAX = {Line.CUT: 5.0, Line.SWALLOWING: 15.0}
"""Silence is noticed after 10 s at the earliest, a reset at once."""
EXIT_S_MAX = 10.0
LIVE_S_MAX = 2.0
HEALTH_S_MAX = 8.0
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
                batch_readings=4,
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

    def is_settled(self) -> bool:
        return not any(sender.pending for sender in self.senders)

    async def verify(self, database_url: str) -> None:
        """Stop the station; everything ever sent was acknowledged and is stored once."""
        for client, journal in zip(self.clients, self.journals, strict=True):
            assert journal.acknowledged == journal.sent.keys()
            journal.verify_by_api(client)
        assert self.station.stop() == 0
        rows = await rows_of(database_url)
        sent = {**self.journals[0].sent, **self.journals[1].sent}
        assert len(rows) == len(sent)
        assert dict(rows) == sent

    def close(self) -> None:
        for client in self.clients:
            client.http.close()


@contextmanager
def scene(data_dir: Path, database_url: str) -> Iterator[tuple[Scene, ProxyControl]]:
    database = urlsplit(database_url)
    with fault_proxy(database.port or 0) as proxy:
        url = database_url.replace(f":{database.port}/", f":{proxy.port}/")
        environment = {
            "INTAKE_QUEUE_READINGS_MAX": str(QUEUE_READINGS_MAX),
            "LAST_VALUES_FLUSH_INTERVAL_S": "60",
        }
        with running_station(data_dir, database_url=url, environment=environment) as station:
            found = Scene(station)
            try:
                yield found, proxy
            finally:
                found.close()
                proxy.set_line(Line.UP)


class Watch:
    """Looks at the station from outside during the outage."""

    def __init__(self, found: Scene, http: httpx2.AsyncClient) -> None:
        self.health = ""
        self.memory_bytes_max = 0
        self._found = found
        self._http = http

    async def until(self, ends_at: float) -> None:
        """Look again and again until then, and at least once."""

        async def look() -> bool:
            live = await self._http.get("/health/live", timeout=LIVE_S_MAX)
            assert live.status_code == 200, live.text
            health = await self._http.get("/health", timeout=HEALTH_S_MAX)
            self.health = health.json()["status"]
            self.memory_bytes_max = max(self.memory_bytes_max, self._found.memory_bytes())
            return time.monotonic() >= ends_at

        await wait_until(look, timeout_s=ends_at - time.monotonic() + HEALTH_S_MAX)


@pytest.mark.parametrize("own_database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize(
    ("line", "outage_s"),
    [(Line.CUT, OUTAGE_S), (Line.SWALLOWING, SWALLOWED_S)],
    ids=["cut", "swallowing"],
)
async def test_an_absent_database_loses_nothing_acknowledged(
    tmp_path: Path, own_database: str, line: Line, outage_s: float
) -> None:
    with scene(tmp_path / "data", own_database) as (found, proxy):
        before_bytes = 0
        async with httpx2.AsyncClient(base_url=found.station.url) as http:
            watch = Watch(found, http)

            async def outage() -> None:
                nonlocal before_bytes
                await wait_until(lambda: all(s.acknowledgements >= 5 for s in found.senders))
                before_bytes = found.memory_bytes()
                proxy.set_line(line)
                await watch.until(time.monotonic() + outage_s)
                assert all(sender.is_held_back for sender in found.mqtt)
                proxy.set_line(Line.UP)
                for sender in found.senders:
                    sender.finish()
                await wait_until(found.is_settled, timeout_s=RECOVERY_S_MAX)

            await run_senders(found.senders, outage)
        assert watch.health == "unhealthy"
        assert watch.memory_bytes_max - before_bytes < GROWTH_BYTES_MAX
        assert [sender.connections for sender in found.mqtt] == [1] * MQTT_SENDERS
        for sender in found.http:
            assert sender.statuses.keys() == {201, 503}
            assert sender.slowest_answer_s < ANSWER_S_MAX[line]
        await found.verify(own_database)


async def test_a_commit_whose_answer_was_lost_is_neither_repeated_nor_forgotten(
    tmp_path: Path, own_database: str
) -> None:
    """The station cannot know whether it stands, looks, and tells of it as of any other."""
    with scene(tmp_path / "data", own_database) as (found, proxy):
        journal, device = found.journals[0], found.clients[0].register_device()
        link = await MqttLink.open(found.station.mqtt_port, device, client_id="greenhouse")

        async def both_are_stored() -> bool:
            return await logged_in_postgresql(own_database) == 2

        try:
            for packet_id, kept in ((1, False), (2, True)):
                batch = journal.write(device.id, "greenhouse", 1)
                if kept:
                    proxy.keep_answers_to(COMMIT)
                await link.send(publish_frame(batch, packet_id=packet_id))
                if kept:
                    await wait_until(both_are_stored)
                    proxy.set_line(Line.UP)
                assert await link.receive() == puback(packet_id)
                journal.acknowledge(batch)
        finally:
            link.close()
        await found.verify(own_database)


async def test_a_station_stops_in_time_though_its_database_is_away(
    tmp_path: Path, own_database: str
) -> None:
    """What it could not store was never acknowledged; the device sends it again afterwards."""
    with scene(tmp_path / "data", own_database) as (found, proxy):
        journal, device = found.journals[0], found.clients[0].register_device()
        batch = journal.write(device.id, "greenhouse", 1)
        link = await MqttLink.open(found.station.mqtt_port, device, client_id="greenhouse")
        proxy.set_line(Line.CUT)
        await link.send(publish_frame(batch, packet_id=1))
        await wait_until(lambda: "commit_failed" in found.station.output())
        started = time.monotonic()
        found.station.signal(signal.SIGTERM)
        await wait_until(lambda: found.station.process.poll() is not None, timeout_s=15)
        assert time.monotonic() - started < EXIT_S_MAX
        assert found.station.process.returncode == 0, found.station.output()
        assert await link.receive() is None
        link.close()
        proxy.set_line(Line.UP)
        found.station.start()
        link = await MqttLink.open(found.station.mqtt_port, device, client_id="greenhouse")
        await link.send(publish_frame(batch, packet_id=1, again=True))
        assert await link.receive() == puback(1)
        link.close()
        journal.acknowledge(batch)
        await found.verify(own_database)
