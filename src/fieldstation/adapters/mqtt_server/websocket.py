"""MQTT over WebSocket: the same server, behind the HTTP port."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from fieldstation.adapters.mqtt_server.connection import MqttConnection
from fieldstation.core.errors import Busy, Forbidden
from fieldstation.domains.identity.access import peer_of
from fieldstation.domains.live.access import (
    foreign_page,
    offered_subprotocols,
    origin_is_allowed,
)
from fieldstation.web.routing import station_router

if TYPE_CHECKING:
    from fieldstation.adapters.mqtt_server.server import MqttServer

SUBPROTOCOL = "mqtt"
UNSUPPORTED = 1003
TRY_AGAIN_LATER = 1013

router = station_router()


@router.websocket("/mqtt")
async def mqtt(websocket: WebSocket) -> None:
    """Carry MQTT in binary messages; CONNECT says who it is, as on the MQTT port."""
    server: MqttServer | None = websocket.app.state.mqtt
    if not origin_is_allowed(websocket):
        raise foreign_page()
    if server is None or SUBPROTOCOL not in offered_subprotocols(websocket.scope):
        raise Forbidden("Here MQTT is spoken: offer the subprotocol mqtt, where it is switched on.")
    await websocket.accept(SUBPROTOCOL)
    transport = WebSocketTransport(websocket)
    try:
        connection = server.attach(transport)
    except Busy as error:
        await websocket.close(TRY_AGAIN_LATER, error.detail)
        return
    await transport.carry(connection)


class WebSocketTransport:
    """Looks like a socket to ``MqttConnection``; bounded by the same pauses as one."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._connection: MqttConnection | None = None
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._write_bytes_high = 0
        self._paused = False
        self._closing = False
        self._close_code = 1000
        self._written = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._over = asyncio.Event()

    async def carry(self, connection: MqttConnection) -> None:
        """Feed the connection and send what it writes until one side ends."""
        self._connection = connection
        try:
            async with asyncio.TaskGroup() as tasks:
                carriers = [
                    tasks.create_task(self._receive(connection), name="mqtt-websocket-receive"),
                    tasks.create_task(self._send(connection), name="mqtt-websocket-send"),
                ]
                await self._over.wait()
                for carrier in carriers:
                    carrier.cancel()
        finally:
            self._closing = True
            connection.connection_lost(None)

    async def _receive(self, connection: MqttConnection) -> None:
        while True:
            await self._may_read.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._over.set()
                return
            received = message.get("bytes")
            if received is None:
                self._close_code = UNSUPPORTED
                connection.close("a WebSocket message is text")
                return
            connection.data_received(received)

    async def _send(self, connection: MqttConnection) -> None:
        try:
            while not self._closing or self._outgoing:
                await self._written.wait()
                self._written.clear()
                while self._outgoing:
                    await self._websocket.send_bytes(self._outgoing[0])
                    self._outgoing_bytes -= len(self._outgoing.popleft())
                    self._resume(connection)
            await self._websocket.close(self._close_code)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client is gone; what it did not take is its session's business
        self._over.set()

    def _resume(self, connection: MqttConnection) -> None:
        if self._paused and self._outgoing_bytes * 4 <= self._write_bytes_high:
            self._paused = False
            connection.resume_writing()

    # --- what the connection says

    def write(self, data: bytes, /) -> None:
        if self._closing:
            return
        self._outgoing.append(data)
        self._outgoing_bytes += len(data)
        self._written.set()
        if self._outgoing_bytes > self._write_bytes_high and not self._paused:
            self._paused = True
            if self._connection is not None:
                self._connection.pause_writing()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("a WebSocket ends with its closing handshake")

    def close(self) -> None:
        self._closing = True
        self._written.set()

    def abort(self) -> None:
        self._closing = True
        self._over.set()

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def set_write_buffer_limits(self, write_bytes_high: int, /) -> None:
        self._write_bytes_high = write_bytes_high

    def get_write_buffer_size(self) -> int:
        return self._outgoing_bytes

    def get_extra_info(self, name: str, /) -> object:
        return (peer_of(self._websocket), 0) if name == "peername" else None
