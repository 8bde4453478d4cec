"""One HTTP connection to a station that may die at any moment: plain streams, surely closed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

LOST = (OSError, EOFError)
"""What a link raises when the station goes away (``IncompleteReadError`` is an ``EOFError``)."""


class Answer(NamedTuple):
    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.content)


class HttpLink:
    """Sends one request after the other on a connection that is kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def post(self, path: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Send and wait for the whole answer. Raises ``LOST``."""
        fields = {"Host": "station", **headers, "Content-Length": str(len(content))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + content)
        await self._writer.drain()
        status, *given = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        found = {
            name.title(): value.strip()
            for name, _, value in (line.partition(":") for line in given if line)
        }
        body = await self._reader.readexactly(int(found["Content-Length"]))
        return Answer(int(status.split()[1]), found, body)


@asynccontextmanager
async def http_link(url: str) -> AsyncIterator[HttpLink]:
    """Connect. Raises ``LOST``."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield HttpLink(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
