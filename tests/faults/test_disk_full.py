"""The disk is full under load: what is new is refused, the rest goes on, space alone mends it."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.clients import StationClient
from tests.faults.oracle import Journal
from tests.faults.senders import HttpSender, MqttSender, Sender, acknowledged, run_senders
from tests.faults.small_disk import MIB, SmallDisk, small_disk
from tests.faults.stored import rows_of_sqlite
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

DISK_BYTES = 64 * MIB
REFUSALS = 20
EXIT_S_MAX = 10.0
RECOVERY_S_MAX = 20.0


class Scene:
    """A station whose data lies on a small disk, and devices that send to it."""

    def __init__(self, station: StationProcess, disk: SmallDisk) -> None:
        self.station, self.disk, self.journal = station, disk, Journal()
        self.client = StationClient(station.url).sign_up()
        self.device = self.client.register_device()
        self.http = [self._http_sender() for _ in range(2)]
        self.mqtt = [
            MqttSender(station, self.client.register_device(), self.journal, batch_readings=5)
            for _ in range(2)
        ]

    def _http_sender(self) -> HttpSender:
        device = self.client.register_device()
        return HttpSender(self.station, device, self.journal, batch_readings=50)

    @property
    def senders(self) -> list[Sender]:
        return [*self.http, *self.mqtt]

    def is_settled(self) -> bool:
        return not any(sender.pending for sender in self.senders)

    async def until_everybody_sent(self) -> None:
        start = {sender: sender.acknowledgements for sender in self.senders}
        await wait_until(lambda: all(s.acknowledgements > start[s] + 5 for s in self.senders))

    async def until_all_are_refused(self) -> None:
        """Fill the disk until nothing at all is taken any more."""
        await wait_until(self._fill_and_see_refusals)
        before = acknowledged(self.senders)
        refused = [sender.statuses[503] for sender in self.http]
        await wait_until(
            lambda: all(
                sender.statuses[503] >= count + REFUSALS
                for sender, count in zip(self.http, refused, strict=True)
            )
        )
        assert acknowledged(self.senders) == before

    def _fill_and_see_refusals(self) -> bool:
        self.disk.fill()
        return all(sender.statuses[503] for sender in self.http) and all(
            sender.is_held_back or sender.pending for sender in self.mqtt
        )

    def finish(self) -> None:
        for sender in self.senders:
            sender.finish()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with (
        small_disk(tmp_path, size_bytes=DISK_BYTES) as disk,
        running_station(disk.path / "data") as station,
    ):
        found = Scene(station, disk)
        yield found
        found.client.http.close()


async def test_a_full_disk_refuses_what_is_new_and_recovers_by_itself(scene: Scene) -> None:
    async def fault() -> None:
        await scene.until_everybody_sent()
        await scene.until_all_are_refused()
        async with httpx2.AsyncClient(base_url=scene.station.url) as http:
            headers = dict(scene.client.http.headers)
            for path in ("/api/v1/readings", "/api/v1/readings/latest", "/api/v1/devices"):
                answer = await http.get(path, headers=headers)
                assert answer.status_code == 200, (path, answer.text)
                assert answer.json()["items"]
            made = await http.post("/api/v1/devices", json={"name": "late"}, headers=headers)
            assert (made.status_code, made.json()["error"]) == (503, "disk_full"), made.text
            assert int(made.headers["Retry-After"]) > 0
            health = await http.get("/health")
            assert health.json()["status"] == "degraded", health.text
            assert health.json()["services"]["intake"]["status"] == "disk_full"
        scene.disk.relieve()
        await scene.until_everybody_sent()
        scene.finish()
        await wait_until(scene.is_settled, timeout_s=RECOVERY_S_MAX)

    await run_senders(scene.senders, fault)
    for sender in scene.http:
        assert sender.statuses.keys() == {201, 503}
    assert [sender.connections for sender in scene.mqtt] == [1] * len(scene.mqtt)
    assert scene.journal.acknowledged == scene.journal.sent.keys()
    scene.journal.verify_by_api(scene.client)
    assert scene.station.stop() == 0
    assert dict(rows_of_sqlite(scene.station.data_dir)) == scene.journal.sent


async def test_a_station_on_a_full_disk_stops_in_time_and_starts_again_with_space(
    scene: Scene,
) -> None:
    async def fault() -> None:
        await scene.until_everybody_sent()
        await scene.until_all_are_refused()
        started = time.monotonic()
        assert await asyncio.to_thread(scene.station.stop) == 0
        assert time.monotonic() - started < EXIT_S_MAX

    async def afterwards() -> None:
        await scene.until_everybody_sent()
        scene.finish()
        await wait_until(scene.is_settled, timeout_s=RECOVERY_S_MAX)

    await run_senders(scene.senders, fault)
    scene.disk.relieve()
    scene.station.start()
    await run_senders(scene.senders, afterwards)
    assert scene.journal.acknowledged == scene.journal.sent.keys()
    assert scene.station.stop() == 0
    assert dict(rows_of_sqlite(scene.station.data_dir)) == scene.journal.sent
