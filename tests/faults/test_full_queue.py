"""A queue full because the store is blocked: refused or held back, and half of it for each."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx2
import msgspec
import pytest

from tests.clients import StationClient, TestDevice
from tests.faults.http_link import Answer, http_link
from tests.faults.mqtt_link import MqttLink, puback, publish_frame
from tests.faults.oracle import Batch, Journal
from tests.faults.stored import rows_of_postgresql
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

QUEUE_READINGS_MAX = 1_000
SHARE_READINGS_MAX = 500
KEEP_ALIVE_S = 1
ANSWER_S_MAX = 5.0
CROWD = 100
REFUSALS_PER_S = 200


class Scene:
    """A station with a small queue, and two organizations with a device that has sent before."""

    def __init__(self, station: StationProcess) -> None:
        self.station = station
        self.journal = Journal()
        self.devices: list[TestDevice] = []
        for _ in range(2):
            with StationClient(station.url) as client:
                device = client.sign_up().register_device()
                batch = self.write(device, 1)
                client.send(device, batch.readings())
                self.journal.acknowledge(batch)
                self.devices.append(device)

    def write(self, device: TestDevice, count: int) -> Batch:
        return self.journal.write(device.id, "greenhouse", count)

    async def post(self, device: TestDevice, count: int) -> httpx2.Response:
        """Send new readings and note them as acknowledged when they are."""
        batch = self.write(device, count)
        async with httpx2.AsyncClient(base_url=self.station.url, timeout=30) as http:
            answer = await http.post(
                device.readings_path,
                content=msgspec.json.encode(batch.readings()),
                headers=device.headers,
            )
        if answer.status_code == 201:
            assert answer.json() == {"accepted": count, "duplicates": 0, "rejected": []}
            self.journal.acknowledge(batch)
        return answer

    async def metric(self, name: str) -> int:
        async with httpx2.AsyncClient(base_url=self.station.url) as http:
            lines = (await http.get("/metrics")).text.splitlines()
        return next(int(float(line.split()[1])) for line in lines if line.startswith(f"{name} "))

    async def wait_for_metric(self, name: str, value: int) -> None:
        async def reached() -> bool:
            return await self.metric(name) == value

        await wait_until(reached)

    async def wait_for_queue(self, readings: int) -> None:
        await self.wait_for_metric("fieldstation_intake_queued", readings)

    async def verify(self, database_url: str) -> None:
        """Stop; what is stored is what was acknowledged, once."""
        assert self.station.stop() == 0
        stored = self.journal.verify(await rows_of_postgresql(database_url))
        assert stored.keys() == self.journal.acknowledged


@pytest.fixture
def scene(tmp_path: Path, own_database: str) -> Iterator[Scene]:
    limits = {"INTAKE_QUEUE_READINGS_MAX": str(QUEUE_READINGS_MAX)}
    with running_station(
        tmp_path / "data", database_url=own_database, environment=limits
    ) as station:
        yield Scene(station)


@asynccontextmanager
async def blocked_store(database_url: str) -> AsyncIterator[None]:
    """Lock the intake log: the commit that runs waits and everything behind it queues up.

    Hold it for less than the 10 s that the station waits for one statement.
    """
    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        await connection.execute("BEGIN; LOCK TABLE intake_batch IN SHARE ROW EXCLUSIVE MODE")
        yield
        await connection.execute("ROLLBACK")
    finally:
        await connection.close()


def assert_refused(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"] == "queue_full"
    assert int(answer.headers["Retry-After"]) == answer.json()["retry_after"] > 0


async def test_a_full_queue_refuses_and_leaves_the_other_organization_its_half(
    scene: Scene, own_database: str
) -> None:
    greedy, modest = scene.devices
    async with asyncio.TaskGroup() as tasks, blocked_store(own_database):
        waiting = [tasks.create_task(scene.post(greedy, 400), name="greedy")]
        await scene.wait_for_queue(400)
        assert_refused(await scene.post(greedy, 101))
        waiting.append(tasks.create_task(scene.post(modest, 400), name="modest"))
        await scene.wait_for_queue(800)
        waiting.append(tasks.create_task(scene.post(modest, 100), name="modest, the rest"))
        await scene.wait_for_queue(900)
        assert_refused(await scene.post(modest, 1))
        waiting.append(tasks.create_task(scene.post(greedy, 100), name="greedy, the rest"))
        await scene.wait_for_queue(QUEUE_READINGS_MAX)
        assert_refused(await scene.post(greedy, 1))
        async with httpx2.AsyncClient(base_url=scene.station.url) as http:
            health = await http.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert health.json()["services"]["intake"]["status"] == "full"
        assert not any(task.done() for task in waiting)
    assert [task.result().status_code for task in waiting] == [201] * 4
    await scene.wait_for_queue(0)
    await scene.verify(own_database)


@asynccontextmanager
async def full_queue(scene: Scene, database_url: str) -> AsyncIterator[TestDevice]:
    """Fill the share of an organization and yield a device of it."""
    device = scene.devices[0]
    async with asyncio.TaskGroup() as tasks, blocked_store(database_url):
        tasks.create_task(scene.post(device, SHARE_READINGS_MAX), name="filling")
        await scene.wait_for_queue(SHARE_READINGS_MAX)
        yield device


async def test_what_a_full_queue_refuses_is_refused_before_its_body_comes(
    scene: Scene, own_database: str
) -> None:
    async with full_queue(scene, own_database) as device:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.station.port)
        lines = [
            f"POST {device.readings_path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {device.api_key}",
            "Content-Length: 100000",
        ]
        writer.write("\r\n".join((*lines, "", "")).encode())
        async with asyncio.timeout(ANSWER_S_MAX):
            answer = await reader.readuntil(b"}")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert b'"error":"queue_full"' in answer
    await scene.verify(own_database)


async def test_a_crowd_that_a_full_queue_refuses_is_answered_in_turn(
    scene: Scene, own_database: str
) -> None:
    """Refusing everybody at once again and again would leave no time for those who are served."""
    async with full_queue(scene, own_database) as device:
        content = msgspec.json.encode(scene.write(device, 1).readings())
        given = asyncio.Barrier(CROWD)
        begun_at: list[float] = []

        async def refused() -> Answer:
            async with http_link(scene.station.url) as link:
                await given.wait()
                begun_at.append(time.monotonic())
                return await link.post(device.readings_path, content, device.headers)

        answers = await asyncio.gather(*(refused() for _ in range(CROWD)))
        assert time.monotonic() - begun_at[0] >= (CROWD - 1) / REFUSALS_PER_S
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["error"] for answer in answers} == {"queue_full"}
    await scene.verify(own_database)


async def test_a_full_queue_stops_reading_mqtt_and_keep_alive_spares_who_waits(
    scene: Scene, own_database: str
) -> None:
    """A third client, idle and not held back, is closed for its silence meanwhile."""
    device, port = scene.devices[0], scene.station.mqtt_port
    open_link = [
        MqttLink.open(port, device, client_id=name, keep_alive_s=KEEP_ALIVE_S)
        for name in ("held back", "second", "silent")
    ]
    held_back, second, silent = [await opening for opening in open_link]
    batches = {number: scene.write(device, 10) for number in range(1, 81)}
    late = scene.write(device, 1)
    async with asyncio.TaskGroup() as tasks, blocked_store(own_database):
        for number, batch in batches.items():
            await held_back.send(publish_frame(batch, packet_id=number))
        first_answer = tasks.create_task(held_back.receive(), name="held back")
        await scene.wait_for_metric("fieldstation_mqtt_paused_total", 1)
        await scene.wait_for_queue(SHARE_READINGS_MAX)
        for _ in range(3):
            await second.send(publish_frame(scene.write(device, 1), packet_id=0))
        await scene.wait_for_metric("fieldstation_mqtt_dropped_qos0_total", 3)
        await second.send(publish_frame(late, packet_id=1))
        second_answer = tasks.create_task(second.receive(), name="second")
        await scene.wait_for_metric("fieldstation_mqtt_paused_total", 2)
        assert await silent.receive() is None
        assert await scene.metric("fieldstation_mqtt_connections") == 2
        assert not first_answer.done()
        assert not second_answer.done()
    assert first_answer.result() == puback(1)
    assert [await held_back.receive() for _ in range(79)] == [puback(n) for n in range(2, 81)]
    assert second_answer.result() == puback(1)
    for batch in (*batches.values(), late):
        scene.journal.acknowledge(batch)
    for link in (held_back, second, silent):
        link.close()
    await scene.verify(own_database)
