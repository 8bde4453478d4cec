"""The server with the clients people use: mosquitto's tools, paho and gmqtt."""

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv311
from paho.mqtt import client as paho

from fieldstation.adapters.mqtt_server.server import MqttServer
from tests.adapters.mqtt_server.serving import serving
from tests.adapters.mqtt_server.station import PASSWORD, MemoryStation
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

PROCESS_TIMEOUT_S = 15.0


async def mosquitto(
    server: MqttServer, tool: str, *arguments: str, username: str = "ann", password: str = PASSWORD
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        f"mosquitto_{tool}",
        *("-h", "127.0.0.1", "-p", str(server.port), "-u", username, "-P", password),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def finished(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    output, _ = await asyncio.wait_for(process.communicate(), PROCESS_TIMEOUT_S)
    return process.returncode, output.decode()


async def test_mosquitto_pub_returns_once_the_reading_is_committed() -> None:
    station = MemoryStation(commits_itself=False)
    async with serving(station) as server:
        arguments = ("-t", "devices/d1/readings", "-m", "21.5", "-q", "1")
        process = await mosquitto(server, "pub", *arguments, username="device:d1")
        await wait_until(lambda: station.unsettled == 1)
        assert process.returncode is None
        station.commit()
        assert await finished(process) == (0, "")


async def test_mosquitto_pub_is_told_that_its_password_is_wrong() -> None:
    async with serving(MemoryStation()) as server:
        code, output = await finished(
            await mosquitto(server, "pub", "-t", "a", "-m", "1", password="wrong")
        )
        assert code != 0
        assert "bad user name or password" in output.lower()


async def test_mosquitto_sub_gets_retained_live_and_will_messages() -> None:
    station = MemoryStation()
    async with serving(station) as server:
        arguments = ("-t", "state/lamp", "-m", "on", "-q", "1", "-r")
        assert await finished(await mosquitto(server, "pub", *arguments)) == (0, "")
        subscriber = await mosquitto(
            server, "sub", "-t", "state/#", "-v", "-q", "1", "-C", "3", "-F", "%t %p %r"
        )
        await wait_until(lambda: server.publish("org-a", "state/probe", b"live", qos=1) == 1)
        doomed = await mosquitto(
            server,
            "sub",
            *("-t", "never", "--will-topic", "state/doomed", "--will-payload", "gone"),
        )
        await wait_until(lambda: server.counters.connections == 2)
        await wait_until(lambda: server.publish("org-a", "never", b"", qos=0) == 1)
        doomed.kill()
        code, output = await finished(subscriber)
        await finished(doomed)
        assert code == 0
        lines = output.splitlines()
        assert sorted(lines) == ["state/doomed gone 0", "state/lamp on 1", "state/probe live 0"]


async def test_mosquitto_sub_hears_nothing_of_another_organization() -> None:
    async with serving(MemoryStation()) as server:
        arguments = ("-t", "#", "-t", "$probe", "-i", "same", "-C", "2", "-F", "%p")
        subscriber = await mosquitto(server, "sub", *arguments, username="bob@org-b")
        await wait_until(lambda: server.publish("org-b", "$probe", b"probe", qos=0) == 1)
        for payload in ("1", "2"):
            code, _ = await finished(
                await mosquitto(server, "pub", "-t", "a", "-i", "same", "-m", payload, "-q", "1")
            )
            assert code == 0
        await wait_until(lambda: server.publish("org-b", "a", b"mine", qos=0) == 1)
        assert await finished(subscriber) == (0, "probe\nmine\n")


async def test_mosquitto_pub_sends_a_thousand_lines() -> None:
    station = MemoryStation()
    async with serving(station) as server:
        process = await asyncio.create_subprocess_exec(
            *("mosquitto_pub", "-h", "127.0.0.1", "-p", str(server.port), "-u", "ann"),
            *("-P", PASSWORD, "-t", "x/readings", "-q", "1", "-l"),
            stdin=asyncio.subprocess.PIPE,
        )
        lines = "".join(f"{number}\n" for number in range(1_000)).encode()
        await asyncio.wait_for(process.communicate(lines), PROCESS_TIMEOUT_S)
        assert process.returncode == 0
        assert [int(payload) for _, payload in station.taken] == list(range(1_000))


@contextmanager
def paho_client(server: MqttServer, client_id: str, *, clean: bool = True) -> Iterator[paho.Client]:
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=clean,
        protocol=paho.MQTTv311,
    )
    client.username_pw_set("ann", PASSWORD)
    client.connect_async("127.0.0.1", server.port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


async def test_paho_publishes_and_subscribes() -> None:
    station = MemoryStation()
    async with serving(station) as server:
        arrived: queue.SimpleQueue[tuple[str, bytes, int]] = queue.SimpleQueue()
        with paho_client(server, "paho") as client:
            await wait_until(client.is_connected)
            client.on_message = lambda _c, _u, got: arrived.put(
                (got.topic, bytes(got.payload), got.qos)
            )
            client.subscribe([("x/#", 1), ("y", 2)])
            await wait_until(lambda: server.publish("org-a", "y", b"!", qos=1) == 1)
            sent = [client.publish("x/readings", f"{n}", qos=1) for n in range(200)]
            await wait_until(lambda: all(each.is_published() for each in sent))
            await wait_until(lambda: arrived.qsize() == 201)
        messages = [arrived.get() for _ in range(201)]
        assert messages[0] == ("y", b"!", 1)
        assert messages[1:] == [("x/readings", f"{n}".encode(), 1) for n in range(200)]


async def test_paho_resumes_its_session() -> None:
    station = MemoryStation()
    async with serving(station) as server:
        with paho_client(server, "paho", clean=False) as client:
            await wait_until(client.is_connected)
            client.subscribe("a", qos=1)
            await wait_until(lambda: server.publish("org-a", "a", b"1", qos=1) == 1)
        await wait_until(lambda: server.counters.connections == 0)
        server.publish("org-a", "a", b"missed", qos=1)
        present: list[bool] = []
        payloads: list[bytes] = []
        with paho_client(server, "paho", clean=False) as client:
            client.on_connect = lambda _c, _u, flags, _r, _p: present.append(flags.session_present)
            client.on_message = lambda _c, _u, got: payloads.append(bytes(got.payload))
            await wait_until(lambda: b"missed" in payloads)
        assert present == [True]


@asynccontextmanager
async def gmqtt_client(server: MqttServer, client_id: str) -> AsyncIterator[gmqtt.Client]:
    client = gmqtt.Client(client_id)
    client.set_auth_credentials("ann", PASSWORD)
    await client.connect("127.0.0.1", server.port, version=MQTTv311, keepalive=30)
    try:
        yield client
    finally:
        with contextlib.suppress(ConnectionError):
            await client.disconnect()


async def test_gmqtt_publishes_and_subscribes() -> None:
    station = MemoryStation()
    async with serving(station) as server, gmqtt_client(server, "gmqtt") as client:
        payloads: list[bytes] = []
        acknowledged: list[int] = []

        async def on_message(_client: Any, _topic: str, payload: bytes, *_: Any) -> int:
            payloads.append(payload)
            return 0

        def on_subscribe(_client: Any, packet_id: int, *_: Any) -> None:
            acknowledged.append(packet_id)

        client.on_message = on_message
        client.on_subscribe = on_subscribe
        client.subscribe("x/+", qos=1)
        await wait_until(lambda: len(acknowledged) == 1)
        for number in range(100):
            client.publish("x/readings", f"{number}", qos=1)
        await wait_until(lambda: len(payloads) == 100)
        assert payloads == [f"{number}".encode() for number in range(100)]
        await wait_until(lambda: server.counters.acknowledged == 100)
