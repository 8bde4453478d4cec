"""The life of one live socket: admitted, fed from its queue, closed for a reason the client can
read."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy
from fieldstation.core.settings import LiveSettings
from fieldstation.domains.identity.schemas import Caller
from fieldstation.domains.live.hub import Hub, Subscriber

log = structlog.get_logger(__name__)

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
INCOMING_CHARACTERS_MAX = 4096
FRAMES_PER_TURN = 100


class Incoming(msgspec.Struct):
    """What a client may send."""

    type: str


@dataclass(eq=False, slots=True)
class OpenSocket:
    """A socket that was admitted, and the event that ends it from outside."""

    caller: Caller
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = POLICY_VIOLATION
    reason: str = ""

    def close(self, *, code: int, reason: str) -> None:
        """Ask the socket's task to close it; the first reason stands."""
        if not self.closing.is_set():
            self.code, self.reason = code, reason
            self.closing.set()


class Sockets:
    """Every open live socket of this node."""

    def __init__(self, settings: LiveSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._open: set[OpenSocket] = set()
        self._per_caller: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, caller: Caller) -> OpenSocket | None:
        """Return the caller's new socket, or None when they have as many as they may."""
        owner = owner_of(caller)
        if self._per_caller[owner] >= self.settings.sockets_per_user_max:
            return None
        socket = OpenSocket(caller)
        self._open.add(socket)
        self._per_caller[owner] += 1
        return socket

    def leave(self, socket: OpenSocket) -> None:
        """Forget a socket that ended."""
        if socket in self._open:
            self._open.remove(socket)
            self._per_caller[owner_of(socket.caller)] -= 1
            self._per_caller += Counter()

    def revoke(self, subject: str) -> None:
        """Close every socket whose right to be open rested on ``subject``."""
        for socket in tuple(self._open):
            if subject in socket.caller.subjects:
                socket.close(code=POLICY_VIOLATION, reason="credential revoked")

    def close_all(self) -> None:
        """Close every socket because the station stops."""
        for socket in tuple(self._open):
            socket.close(code=1012, reason="station restarts")


def owner_of(caller: Caller) -> str:
    return caller.user_id or caller.device_id or caller.organization_id


@dataclass(slots=True)
class Feed:
    """One socket with its queue; runs until either side ends it."""

    websocket: WebSocket
    socket: OpenSocket
    subscriber: Subscriber
    sockets: Sockets
    hub: Hub

    async def run(self, backlog: AsyncIterator[bytes] | None) -> None:
        """Send the backlog, then whatever comes; answer pings; close with a reason."""
        try:
            async with asyncio.TaskGroup() as tasks:
                talking = [
                    tasks.create_task(self._send_forever(backlog), name="live-send"),
                    tasks.create_task(self._receive_forever(), name="live-receive"),
                    tasks.create_task(self._close_when_over(), name="live-expiry"),
                ]
                await self.socket.closing.wait()
                for task in talking:
                    task.cancel()
        finally:
            self.hub.unsubscribe(self.subscriber)
        await self._close()

    async def _send_forever(self, backlog: AsyncIterator[bytes] | None) -> None:
        try:
            if backlog is None:
                self.hub.subscribe(self.subscriber)
            else:
                async for frame in backlog:
                    await self._send(frame)
            while True:
                await self._send_queued()
                self.subscriber.changed.clear()
                if not self.subscriber.frames:
                    await self.subscriber.changed.wait()
        except Busy:
            self.socket.close(code=TRY_AGAIN_LATER, reason="database away")
        except (WebSocketDisconnect, RuntimeError):
            self.socket.close(code=1000, reason="gone")

    async def _send_queued(self) -> None:
        subscriber = self.subscriber
        while subscriber.frames:
            await self._send(subscriber.frames.popleft())
        if subscriber.dropped:
            dropped, subscriber.dropped = subscriber.dropped, 0
            subscriber.full_since = None
            gap = {"type": "gap", "dropped": dropped, "cursor": self.hub.cursor.text()}
            await self._send(msgspec.json.encode(gap))

    async def _send(self, frame: bytes) -> None:
        """Send one frame; a client that takes none for too long is closed."""
        sending = self.websocket.send_text(frame.decode())
        try:
            async with asyncio.timeout(self.sockets.settings.slow_timeout_s):
                await sending
        except TimeoutError:
            self.socket.close(code=TRY_AGAIN_LATER, reason="too slow")

    async def _receive_forever(self) -> None:
        try:
            while (message := await self.websocket.receive())["type"] == "websocket.receive":
                answer = reply(message.get("text") or "", self.hub)
                if answer is None:
                    self.socket.close(code=POLICY_VIOLATION, reason="unknown message")
                    return
                await self.websocket.send_text(answer.decode())
        except (WebSocketDisconnect, RuntimeError):
            pass
        self.socket.close(code=1000, reason="gone")

    async def _close_when_over(self) -> None:
        expires_at = self.socket.caller.expires_at
        if expires_at is None:
            return
        left_s = (expires_at - self.sockets.clock.now()).total_seconds()
        await asyncio.sleep(max(left_s, 0))
        self.socket.close(code=POLICY_VIOLATION, reason="token expired")

    async def _close(self) -> None:
        if self.websocket.client_state is WebSocketState.DISCONNECTED:
            return
        try:
            async with asyncio.timeout(1):
                await self.websocket.close(self.socket.code, self.socket.reason)
        except (TimeoutError, RuntimeError):
            log.debug("socket_close_unanswered")


def reply(text: str, hub: Hub) -> bytes | None:
    """Answer a client's message; None for one that is not understood."""
    if len(text) > INCOMING_CHARACTERS_MAX:
        return None
    try:
        message = msgspec.json.decode(text, type=Incoming)
    except msgspec.DecodeError:
        return None
    if message.type == "ping":
        return msgspec.json.encode({"type": "pong", "cursor": hub.cursor.text()})
    return msgspec.json.encode(
        {"type": "error", "message": 'Send {"type": "ping"}.', "cursor": hub.cursor.text()}
    )
