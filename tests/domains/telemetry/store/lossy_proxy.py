"""A TCP proxy that can lose an answer, go away and come back, or say nothing at all."""

import asyncio
from typing import Self


class LossyProxy:
    """Listens on a free loopback port and forwards to a server; ``silent`` only listens."""

    def __init__(self, host: str, port: int, *, silent: bool = False) -> None:
        self._target = host, port
        self._silent = silent
        self._fatal: bytes | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    def lose_answer_to(self, request: bytes) -> None:
        """Forward the next request with these bytes, then drop the client instead of answering."""
        self._fatal = request

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._silent:
                await reader.read()
            else:
                await self._forward(reader, writer)
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _forward(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        reader, writer = await asyncio.open_connection(*self._target)
        lost = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(client_reader, writer, lost), name="requests")
                group.create_task(self._answers(reader, client_writer, lost), name="answers")
        except* OSError:
            # One side hung up; the other one follows.
            writer.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while request := await reader.read(65_536):
            if self._fatal is not None and self._fatal in request:
                self._fatal = None
                lost.set()
            writer.write(request)
            await writer.drain()
        writer.close()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while answer := await reader.read(65_536):
            if lost.is_set():
                break
            writer.write(answer)
            await writer.drain()
        writer.transport.abort()
