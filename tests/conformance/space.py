"""Topics and client ids of one test on the shared station, and the clients that use them."""

from asyncio import open_connection
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from tests.adapters.mqtt_server.raw_client import RawClient, connect_bytes
from tests.adapters.mqtt_server.raw_client5 import connect5
from tests.conformance.paho_client import PahoClient
from tests.station_process import StationProcess

TCP, WEBSOCKET = "tcp", "websockets"


class Space:
    """``topic("a")`` is another topic in every test; so is ``name("c")`` as a client id."""

    def __init__(self, broker: StationProcess, username: str, key: str) -> None:
        self.broker = broker
        self.username = username
        self.key = key
        self._prefix = uuid4().hex[:12]

    def topic(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def name(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def client(self, version: int = 5, transport: str = TCP, **wanted: Any) -> PahoClient:
        """Return a client of paho-mqtt that is not connected yet."""
        port = self.broker.mqtt_port if transport == TCP else self.broker.port
        who: dict[str, Any] = {"username": self.username, "password": self.key}
        return PahoClient(port, version=version, transport=transport, **(who | wanted))

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[RawClient]:
        """Connect by TCP only, for what no well-behaved client would send."""
        client = RawClient(*await open_connection("127.0.0.1", self.broker.mqtt_port))
        try:
            yield client
        finally:
            await client.close()

    def connect_bytes(self, version: int, client_id: str | None = None, **wanted: Any) -> bytes:
        encode: Callable[..., bytes] = connect_bytes if version == 4 else connect5
        name = self.name("raw") if client_id is None else client_id
        return encode(name, username=self.username, password=self.key, **wanted)
