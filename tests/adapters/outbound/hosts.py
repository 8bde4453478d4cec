"""Web servers on loopback that answer as a test says, well or badly."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fieldstation.adapters.outbound.client import Resolve

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Host:
    """A server, and the heads of the requests that it got."""

    port: int = 0
    heads: list[str] = field(default_factory=list)


def whole(status: str, *headers: str, content: bytes = b"") -> Write:
    """Return what writes one whole answer."""

    async def write(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", ""]
        writer.write("\r\n".join(lines).encode() + content)
        await writer.drain()

    return write


def to(location: str, *headers: str, status: str = "302 Found") -> Write:
    """Return what leads elsewhere."""
    return whole(status, f"Location: {location}", *headers)


def endless(begin: str, part: bytes) -> Write:
    """Return what writes a beginning and then the same again for as long as somebody reads."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(begin.encode())
        while True:
            writer.write(part * (4096 // len(part)))
            await writer.drain()
            await asyncio.sleep(0)  # it shares the loop with who asks

    return write


def silent(begin: str) -> Write:
    """Return what writes a beginning and then nothing more."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(begin.encode())
        await writer.drain()
        await asyncio.Event().wait()

    return write


@asynccontextmanager
async def host(
    *answers: Write, address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Host]:
    """Serve one answer after another, the last one again and again, a connection each."""
    served = Host()
    waiting = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            served.heads.append(head.decode())
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client had enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, address, port, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


def resolving(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """Return a resolver that gives one answer after another, and the names it was asked for."""
    asked: list[str] = []
    waiting = list(answers)

    async def resolve(name: str, _port: int) -> Sequence[str]:
        asked.append(name)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return resolve, asked
