"""Uvicorn's WebSocket protocol with one thing more: frames that were encoded once for many sockets
can be written as they are."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

LINE_EXTENSION = "fieldstation.line"
"""Where an application finds a socket's line, in the scope's ASGI extensions."""


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
    """Offers every accepted socket's line to the application."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[LINE_EXTENSION] = WebSocketLine(self)
