"""What a fan-out is measured against: a bare loop that writes ready frames, and ``send_json``."""

import asyncio
import base64
import hashlib
import sys
from typing import Any, cast

import uvloop
from fastapi import FastAPI, Request, WebSocket

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CURSOR = "0190a5c2-7b3e-7cc1-9d44-5f0c3b1a2e77.123456.0"
READING: dict[str, Any] = {
    "id": "1f-64b2f3a1c0d40",
    "timestamp": "2026-11-22T12:00:00.000000Z",
    "device_id": "0190a5c2-7b3e-7cc1-9d44-5f0c3b1a2e78",
    "sensor_type": "temperature",
    "sensor_id": "temperature",
    "value": 21.5,
    "unit": "°C",
    "origin": None,
    "source_protocol": "http",
    "anomaly": False,
    "anomaly_score": None,
    "metadata": None,
}
MESSAGE = {
    "type": "sensor_data",
    "data": READING,
    "timestamp": "2026-11-22T12:00:00.000000Z",
    "cursor": CURSOR,
}

app = FastAPI()
sockets: set[WebSocket] = set()


@app.websocket("/ws")
async def stay(websocket: WebSocket) -> None:
    await websocket.accept()
    sockets.add(websocket)
    try:
        async for _ in websocket.iter_text():
            continue
    finally:
        sockets.discard(websocket)


@app.post("/{path:path}")
async def publish(request: Request) -> str:
    await request.body()
    for websocket in tuple(sockets):
        await websocket.send_json(MESSAGE)
    return "ok"


class BareProtocol(asyncio.Protocol):
    """Accepts WebSockets by hand; every POST writes one frame to each of them."""

    open: set[asyncio.Transport] = set()  # noqa: RUF012 - shared by all connections on purpose

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._transport in self.open:
            return
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if b"upgrade" in headers:
            key = head.partition(b"Sec-WebSocket-Key: ")[2].split(b"\r\n")[0]
            self._accept(key)
        elif len(body) >= int(headers.get(b"content-length", b"0")):
            self._received = b""
            frame = self._frame
            for transport in self.open:
                transport.write(frame)
            self._transport.write(OK)

    def _accept(self, key: bytes) -> None:
        digest = hashlib.sha1(key + WEBSOCKET_GUID, usedforsecurity=False).digest()
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        self.open.add(self._transport)


async def serve_bare(port: int, frame_bytes: int) -> None:
    text = b"x" * frame_bytes
    frame = b"\x81\x7e" + len(text).to_bytes(2) + text
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BareProtocol(frame), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve_bare(int(sys.argv[1]), int(sys.argv[2])))
