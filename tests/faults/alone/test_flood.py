"""Five hundred MQTT clients that publish as fast as they can: nothing lost, everybody answered."""

import asyncio

import httpx2
import pytest

from bench.echo_probe import EchoResult, EchoSpec
from bench.processes import Task, load_core
from tests.clients import StationClient
from tests.faults.oracle import Journal
from tests.faults.senders import MqttSender, acknowledged, run_senders
from tests.station_process import StationProcess
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

CLIENTS = 500
PINGS = 300
PING_INTERVAL_S = 0.005
RATIO_MAX = 20.0
FLOOR_US = 250_000
"""A station that lets a flood starve its sockets takes seconds; the target is benchmark P20's."""
HEALTH_S_MAX = 2.0


def probe(station: StationProcess, client: StationClient) -> Task[EchoResult]:
    """Start pinging a live socket, in a process of its own."""
    spec = EchoSpec(
        port=station.port,
        path="/ws/live-data?device_id=none",
        token=client.token,
        count=PINGS,
        interval_s=PING_INTERVAL_S,
    )
    return Task("bench.echo_probe", spec, result=EchoResult, core=load_core())


async def p99_us(probing: Task[EchoResult]) -> float:
    latencies = (await asyncio.to_thread(probing.result)).latencies
    assert latencies is not None
    return latencies.p99_us


async def test_a_flood_of_publications_loses_nothing_and_starves_nobody(
    own_station: StationProcess,
) -> None:
    journal = Journal()
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        calm_us = await p99_us(probe(own_station, client))
        senders = [
            MqttSender(own_station, device, journal, batch_readings=1) for _ in range(CLIENTS)
        ]
        flooded_us = 0.0

        async def look() -> None:
            nonlocal flooded_us
            await wait_until(lambda: all(sender.acknowledgements for sender in senders))
            probing, begun = probe(own_station, client), acknowledged(senders)
            async with (
                httpx2.AsyncClient(base_url=own_station.url, timeout=HEALTH_S_MAX) as http,
                asyncio.TaskGroup() as tasks,
            ):
                answer = tasks.create_task(p99_us(probing), name="probe")
                while not answer.done():
                    health = await http.get("/health")
                    assert health.json()["status"] == "healthy"
            flooded_us = answer.result()
            assert acknowledged(senders) > begun
            for sender in senders:
                sender.finish()

        await run_senders(senders, look)
        assert not any(sender.pending for sender in senders)
        assert journal.acknowledged == journal.sent.keys()
        assert [sender.connections for sender in senders] == [1] * CLIENTS
        journal.verify_by_api(client)
    assert flooded_us < max(RATIO_MAX * calm_us, FLOOR_US), (calm_us, flooded_us)
