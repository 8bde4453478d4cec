"""Uvicorn's WebSocket protocol with two things more: frames that were encoded once for many sockets
can be written as they are, and a client that does not read is cut off in the end."""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

LINE_EXTENSION = "fieldstation.line"
"""Where an application finds a socket's line, in the scope's ASGI extensions."""
GOODBYE_S = 1.0
"""How long the application has to close a socket with its own reason when the server stops."""
LINGER_S = 2.0
"""How long a client may take to read the rest and the reason before it is cut off."""


class WebSocketLine:
    """Writes ready frames past the ASGI interface; only after the socket was accepted, and only
    whole frames. There must be no compression."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: WebSocketsSansIOProtocol) -> None:
        self._protocol = protocol

    @property
    def is_free(self) -> bool:
        """Whether the client took what was written before and the socket is open."""
        protocol = self._protocol
        return (
            protocol.writable.is_set()
            and not protocol.disconnected
            and protocol.conn.state is State.OPEN
            and not protocol.transport.is_closing()
        )

    def write(self, wire: bytes) -> None:
        self._protocol.transport.write(wire)

    async def drained(self) -> None:
        """Return once the client took most of what was written, or is gone."""
        await self._protocol.writable.wait()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Offers every accepted socket's line to the application; cuts off who lingers at its end."""

    _cutting: asyncio.TimerHandle | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[LINE_EXTENSION] = WebSocketLine(self)

    async def send(self, message: Any) -> None:
        """Write the reason for closing behind what the client has not taken, without waiting."""
        if message["type"] == "websocket.close":
            self.writable.set()
            self._cut_off_soon()
        await super().send(message)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._cut_off_soon()

    def shutdown(self) -> None:
        """Leave the application a moment: its reason says more than the server's code alone."""
        if self.handshake_complete and not self.close_sent:
            self.loop.call_later(GOODBYE_S, self._end)
        else:
            super().shutdown()

    def _end(self) -> None:
        if not self.disconnected:
            super().shutdown()

    def keepalive_timeout(self) -> None:
        """Give up a client that answers no ping: what it has not taken, it never will."""
        super().keepalive_timeout()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cutting is not None:
            self._cutting.cancel()
        super().connection_lost(exc)

    def _cut_off_soon(self) -> None:
        if self._cutting is None and not self.disconnected:
            self._cutting = self.loop.call_later(LINGER_S, self.transport.abort)
