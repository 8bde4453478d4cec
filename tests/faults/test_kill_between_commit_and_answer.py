"""The station dies when a batch is committed and its answer has not left; the client repeats it.

On PostgreSQL a proxy withholds the server's answer to COMMIT. On SQLite strace delays the return
of each fdatasync, and a copy of the files tells when the commit is in them. Either way the station
cannot answer before it is killed.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest

from tests.clients import StationClient, TestDevice
from tests.faults.mqtt_link import MqttLink, puback, publish_frame
from tests.faults.oracle import Batch, Journal, Key
from tests.faults.proxy import COMMIT, Line, fault_proxy
from tests.faults.stored import (
    copy_files,
    logged_in_postgresql,
    rows_of_postgresql,
    rows_of_sqlite,
)
from tests.services import missing_service
from tests.station_process import StationProcess
from tests.wait_until import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("door", ["http", "mqtt"])]

READINGS = 3
PACKET_ID = 7
HELD_BACK_US = 1_000_000
STRACE = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fdatasync")


class Scene:
    """A device that sends two batches: one at peace, and one whose answer the station dies over."""

    def __init__(self, station: StationProcess, door: str) -> None:
        self.station = station
        self._journal = Journal()
        with StationClient(station.url) as client:
            self._device: TestDevice = client.sign_up().register_device()
        self._by_http = door == "http"
        self._batch = self._write()

    async def send_at_peace(self) -> None:
        """Send the first batch, which makes the series; the next one commits readings only."""
        await self._send(accepted=READINGS)
        self._batch = self._write()

    async def send_and_kill(self, is_committed: Callable[[], bool | Awaitable[bool]]) -> None:
        """Send the second batch, kill the station once it is committed; no answer may come."""
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send_in_vain(), name="send")
            await wait_until(is_committed)
            assert not sending.done(), "the answer left before the kill"
            self.station.kill()

    async def send_again(self) -> None:
        """Send it again to the station that was started again: all of it is a duplicate."""
        await self._send(accepted=0)

    def verify(self, rows: list[tuple[Key, float]]) -> None:
        """Both batches are stored, once."""
        assert len(self._journal.verify(rows)) == 2 * READINGS

    async def _send(self, *, accepted: int) -> None:
        if self._by_http:
            answer = await self._post()
            assert answer.status_code == 201, answer.text
            counts = {"accepted": accepted, "duplicates": READINGS - accepted}
            assert answer.json() == {**counts, "rejected": []}
        else:
            link = await self._publish(again=not accepted)
            assert await link.receive() == puback(PACKET_ID)
            link.close()
        self._journal.acknowledge(self._batch)

    async def _send_in_vain(self) -> None:
        if self._by_http:
            with pytest.raises(httpx2.TransportError):
                await self._post()
        else:
            link = await self._publish(again=False)
            assert await link.receive() is None
            link.close()

    async def _post(self) -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=self.station.url, timeout=30) as http:
            return await http.post(
                self._device.readings_path,
                content=msgspec.json.encode(self._batch.readings()),
                headers=self._device.headers,
            )

    async def _publish(self, *, again: bool) -> MqttLink:
        link = await MqttLink.open(self.station.mqtt_port, self._device, client_id="greenhouse")
        await link.send(publish_frame(self._batch, packet_id=PACKET_ID, again=again))
        return link

    def _write(self) -> Batch:
        return self._journal.write(self._device.id, "greenhouse", READINGS)


@contextmanager
def ending(station: StationProcess) -> Iterator[StationProcess]:
    try:
        yield station
    finally:
        if station.process.poll() is None:
            station.kill()


async def test_a_retry_after_the_kill_is_a_duplicate_on_postgresql(
    tmp_path: Path, own_database: str, door: str
) -> None:
    database = urlsplit(own_database)
    with fault_proxy(database.port or 0) as proxy:
        url = f"postgresql://{database.username}@127.0.0.1:{proxy.port}{database.path}"
        station = StationProcess(tmp_path / "data", database_url=url).start()
        with ending(station):
            scene = Scene(station, door)
            await scene.send_at_peace()
            proxy.keep_answers_to(COMMIT)

            async def is_committed() -> bool:  # jobs commit as well, so an answer is not enough
                return await logged_in_postgresql(own_database) == 2 * READINGS

            await scene.send_and_kill(is_committed)
            scene.verify(await rows_of_postgresql(own_database))
            proxy.set_line(Line.UP)
            station.start()
            await scene.send_again()
            assert station.stop() == 0
    scene.verify(await rows_of_postgresql(own_database))


async def test_a_retry_after_the_kill_is_a_duplicate_on_sqlite(tmp_path: Path, door: str) -> None:
    if shutil.which("strace") is None:
        missing_service("no strace")
    data_dir, scratch = tmp_path / "data", tmp_path / "scratch"
    delay = ("-e", f"inject=fdatasync:delay_exit={HELD_BACK_US}", "-o", str(tmp_path / "trace"))
    with ending(StationProcess(data_dir).start()) as first:
        scene = Scene(first, door)
        await scene.send_at_peace()
        assert first.stop() == 0
    with ending(StationProcess(data_dir, wrapper=(*STRACE, *delay)).start()) as delayed:
        scene.station = delayed
        await scene.send_and_kill(
            lambda: len(rows_of_sqlite(copy_files(data_dir, scratch))) == 2 * READINGS
        )
    with ending(StationProcess(data_dir).start()) as last:
        scene.station = last
        await scene.send_again()
        assert last.stop() == 0
    scene.verify(rows_of_sqlite(data_dir))
