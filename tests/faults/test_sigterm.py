"""SIGTERM: the station takes nothing more, settles everything it read, and exits with 0."""

import asyncio
import signal
import time

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.clients import StationClient
from tests.faults.mqtt_link import MqttLink, puback, publish_frame
from tests.faults.oracle import Batch, Journal
from tests.faults.senders import HttpSender, MqttSender, Sender, acknowledged, run_senders
from tests.faults.stored import rows_of_sqlite
from tests.station_process import StationProcess
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

EXIT_S_MAX = 10.0
ACKNOWLEDGEMENTS = 300


def senders_for(station: StationProcess, client: StationClient, journal: Journal) -> list[Sender]:
    device = client.register_device
    return [
        *(HttpSender(station, device(), journal, batch_readings=n) for n in (1, 50)),
        *(MqttSender(station, device(), journal, batch_readings=n) for n in (1, 5, 10)),
    ]


async def test_everything_the_station_stored_under_load_was_also_acknowledged(
    own_station: StationProcess,
) -> None:
    """A second SIGTERM during the drain changes nothing."""
    journal = Journal()
    with StationClient(own_station.url) as client:
        senders = senders_for(own_station, client.sign_up(), journal)
    exit_s = 0.0

    async def terminate() -> None:
        nonlocal exit_s
        await wait_until(lambda: acknowledged(senders) >= ACKNOWLEDGEMENTS)
        started = time.monotonic()
        own_station.signal(signal.SIGTERM)
        own_station.signal(signal.SIGTERM)
        await wait_until(lambda: own_station.process.poll() is not None, timeout_s=EXIT_S_MAX)
        exit_s = time.monotonic() - started

    await run_senders(senders, terminate)
    assert own_station.process.returncode == 0, own_station.output()
    assert exit_s < EXIT_S_MAX
    assert any(sender.pending for sender in senders), "the load had ended before the station"
    stored = journal.verify(rows_of_sqlite(own_station.data_dir))
    assert stored.keys() == journal.acknowledged


def head(path: str, key: str, body_bytes: int) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {key}",
        f"Content-Length: {body_bytes}",
    ]
    return "\r\n".join((*lines, "", "")).encode()


async def is_refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_a_request_under_way_is_answered_while_nobody_new_is_let_in(
    own_station: StationProcess,
) -> None:
    """A request whose body is still arriving keeps the station draining while the test looks."""
    journal = Journal()
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        authorization = client.http.headers["Authorization"]
    batch = journal.write(device.id, "greenhouse", 5)
    body = msgspec.json.encode(batch.readings())
    reader, writer = await asyncio.open_connection("127.0.0.1", own_station.port)
    address = f"ws://127.0.0.1:{own_station.port}/ws"
    async with connect(address, additional_headers={"Authorization": authorization}) as socket:
        writer.write(head(device.readings_path, device.api_key, len(body)) + body[:-1])
        await socket.send('{"type": "ping"}')
        assert '"pong"' in str(await socket.recv())
        own_station.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    for port in (own_station.port, own_station.mqtt_port):
        await wait_until(lambda port=port: is_refused(port))
    own_station.signal(signal.SIGTERM)
    assert own_station.process.poll() is None
    writer.write(body[-1:])
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 201 "), answer
    journal.acknowledge(batch)
    await wait_until(lambda: own_station.process.poll() is not None, timeout_s=EXIT_S_MAX)
    assert own_station.process.returncode == 0, own_station.output()
    assert journal.verify(rows_of_sqlite(own_station.data_dir)).keys() == journal.acknowledged


async def test_the_reason_for_a_refused_reading_outlives_a_stop_right_after_its_acknowledgement(
    own_station: StationProcess,
) -> None:
    """The second value of a timestamp is acknowledged over MQTT and kept as refused."""
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        key = Journal().write(device.id, "greenhouse", 1).keys[0]
        link = await MqttLink.open(own_station.mqtt_port, device, client_id="greenhouse")
        for packet_id, value in ((1, 20.5), (2, 21.5)):
            await link.send(publish_frame(Batch((key,), (value,)), packet_id=packet_id))
            assert await link.receive() == puback(packet_id)
        link.close()
        assert own_station.stop() == 0
        own_station.start()
        refusals = client.get(f"/api/v1/devices/{device.id}/refusals")["items"]
    assert [refusal["error"] for refusal in refusals] == ["timestamp_conflict"]
