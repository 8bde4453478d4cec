"""Runs a real MQTT server for one test, on free ports."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fieldstation.adapters.mqtt_server.options import MqttServerOptions
from fieldstation.adapters.mqtt_server.server import MqttServer
from fieldstation.core.clock import Clock, SystemClock
from tests.adapters.mqtt_server.station import MemoryStation


@asynccontextmanager
async def serving(
    station: MemoryStation,
    *,
    clock: Clock | None = None,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[MqttServer]:
    """Start a server with these options, stop it afterwards."""
    wanted: dict[str, Any] = {
        "port": 0,
        "tls_port": 0,
        "sweep_interval_ms": 10,
        "changes_retry_ms": 10,
    } | options
    server = MqttServer(MqttServerOptions(**wanted), station, clock or SystemClock(), tls=tls)
    await server.start()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.run(), name="mqtt-server")
        try:
            yield server
        finally:
            await server.stop()
            await running
