"""What a live socket's client does: open it in each way the contract names, read frames."""

import json
import socket as sockets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

FRAME_TIMEOUT_S = 10.0


class LiveClient:
    """An open socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def receive(self, *, timeout_s: float = FRAME_TIMEOUT_S) -> dict[str, Any]:
        return json.loads(self.socket.recv(timeout=timeout_s))

    def readings(self, count: int) -> list[dict[str, Any]]:
        """Return the next ``sensor_data`` frames' readings."""
        frames = [self.receive() for _ in range(count)]
        assert all(frame["type"] == "sensor_data" for frame in frames), frames
        return [frame["data"] for frame in frames]

    def ping(self) -> dict[str, Any]:
        """Ask for a pong, which also tells that everything before it was handled."""
        self.socket.send('{"type": "ping"}')
        return self.receive()

    def wait_until_closed(self, *, timeout_s: float = FRAME_TIMEOUT_S) -> tuple[int, str]:
        """Return the code and reason with which the station closed the socket."""
        frame: Close | None = None
        try:
            while True:
                self.socket.recv(timeout=timeout_s)
        except ConnectionClosed as closed:
            frame = closed.rcvd
        assert frame is not None, "closed without a reason"
        return frame.code, frame.reason


def small_socket(url: str, receive_buffer_bytes: int) -> sockets.socket:
    address = urlsplit(url)
    made = sockets.socket()
    made.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer_bytes)
    made.connect((address.hostname, address.port))
    return made


@contextmanager
def live(
    url: str,
    *,
    token: str | None = None,
    path: str = "/ws",
    query: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    origin: str | None = None,
    subprotocols: Sequence[str] = (),
    receive_buffer_bytes: int | None = None,
) -> Iterator[LiveClient]:
    """Open a socket; ``token`` goes into the Authorization header.

    With ``receive_buffer_bytes`` the kernel takes in no more than about that while nobody reads.
    """
    sent = {} if token is None else {"Authorization": f"Bearer {token}"}
    address = f"{url.replace('http', 'ws', 1)}{path}?{urlencode(query)}"
    with connect(
        address,
        additional_headers={**sent, **(headers or {})},
        origin=None if origin is None else Origin(origin),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        proxy=None,
        compression=None,
        close_timeout=2,
        ping_interval=None,
        sock=None if receive_buffer_bytes is None else small_socket(url, receive_buffer_bytes),
    ) as socket:
        yield LiveClient(socket)
