"""A TCP proxy in front of PostgreSQL that can be cut, swallow everything, or withhold an answer."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.wait_until import wait_until

CHUNK_BYTES = 65_536
COMMIT = b"fieldstation_readings"
"""The channel that commits of readings name, and otherwise only sessions that begin to listen."""


class Line(StrEnum):
    """What happens to the connections through the proxy."""

    UP = "up"
    CUT = "connections are reset, new ones refused"
    SWALLOWING = "connections stay and new ones are taken, but nothing passes"


class ProxyControl:
    """A proxy that runs beside the test in a thread of its own."""

    def __init__(self, portal: BlockingPortal, proxy: "FaultProxy") -> None:
        self.port = proxy.port
        self._portal = portal
        self._proxy = proxy

    def set_line(self, line: Line) -> None:
        """Change what happens to the connections."""
        self._portal.call(self._proxy.set_line, line)

    def keep_answers_to(self, request: bytes) -> None:
        """Withhold what answers requests with these bytes, until the line is set anew: whoever
        sends them, so jobs of the station as well."""
        self._portal.call(self._proxy.keep_answers_to, request)


@contextmanager
def fault_proxy(port: int) -> Iterator[ProxyControl]:
    """Run a proxy in front of a loopback port; it starts with its line up."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultProxy(port)) as proxy,
    ):
        yield ProxyControl(portal, proxy)


class FaultProxy:
    """Listens on a loopback port of its own and forwards to another one while its line is up."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target_port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._kept_request: bytes | None = None

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.set_line(Line.CUT)
        await wait_until(lambda: not self._writers)

    async def set_line(self, line: Line) -> None:
        """Change what happens.

        Bytes that were swallowed never arrive; their connections are reset when it is up again.
        """
        self._kept_request = None
        if line is Line.SWALLOWING:
            self._passing.clear()
            return
        if line is Line.CUT:
            await self._refuse()
        self._reset_all()
        self._passing.set()
        if line is Line.UP:
            await self._listen()

    def keep_answers_to(self, request: bytes) -> None:
        """Forward requests with these bytes, and nothing more that comes back for them."""
        self._kept_request = request

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self._reset_all()
            await server.wait_closed()

    def _reset_all(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        keeping = asyncio.Event()
        try:
            await self._passing.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(back)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._requests(reader, back, keeping), name="requests")
                    tasks.create_task(self._answers(there, writer, keeping), name="answers")
            finally:
                self._end(back)
        except* OSError:
            pass  # one side hung up, the other one follows
        finally:
            self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keeping: asyncio.Event
    ) -> None:
        while request := await reader.read(CHUNK_BYTES):
            await self._passing.wait()
            if self._kept_request is not None and self._kept_request in request:
                keeping.set()
            writer.write(request)
            await writer.drain()
        raise ConnectionResetError("the client hung up")

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keeping: asyncio.Event
    ) -> None:
        while answer := await reader.read(CHUNK_BYTES):
            await self._passing.wait()
            if keeping.is_set():
                continue
            writer.write(answer)
            await writer.drain()
        raise ConnectionResetError("the server hung up")
