"""The life of one live socket: admitted, fed from its queue, closed for a reason the client can
read."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy, Forbidden
from fieldstation.core.settings import LiveSettings
from fieldstation.domains.identity.schemas import Caller
from fieldstation.domains.live.frames import Frame, gap_frame, wire_form
from fieldstation.domains.live.hub import Hub
from fieldstation.domains.live.subscribers import Line, Subscriber

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
        self._per_owner: Counter[str] = Counter()
        self._per_organization: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, caller: Caller) -> OpenSocket:
        """Return the caller's new socket.

        Raises ``Forbidden`` when they, or their organization, have as many as they may on this
        node.
        """
        owner, organization = owner_of(caller), caller.organization_id
        if self._per_owner[owner] >= self.settings.sockets_per_user_max:
            raise Forbidden("too many sockets", code="too_many_sockets")
        if self._per_organization[organization] >= self.settings.sockets_per_organization_max:
            raise Forbidden("too many sockets of this organization", code="too_many_sockets")
        socket = OpenSocket(caller)
        self._open.add(socket)
        self._per_owner[owner] += 1
        self._per_organization[organization] += 1
        return socket

    def leave(self, socket: OpenSocket) -> None:
        """Forget a socket that ended."""
        if socket in self._open:
            self._open.remove(socket)
            self._per_owner[owner_of(socket.caller)] -= 1
            self._per_owner += Counter()
            self._per_organization[socket.caller.organization_id] -= 1
            self._per_organization += Counter()

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
    line: Line | None = None

    async def run(self, backlog: AsyncIterator[Frame] | None) -> None:
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

    async def _send_forever(self, backlog: AsyncIterator[Frame] | None) -> None:
        subscriber = self.subscriber
        try:
            if backlog is None:
                self.hub.subscribe(subscriber)
            else:
                async for frame in backlog:
                    await self._send([frame])
            await self._send_queued()
            subscriber.line = self.line  # from here on the hub writes what comes
            while True:
                subscriber.changed.clear()
                if not subscriber.has_more:
                    await subscriber.changed.wait()
                await self._send_queued()
        except TimeoutError:
            self.socket.close(code=TRY_AGAIN_LATER, reason="too slow")
        except Busy:
            self.socket.close(code=TRY_AGAIN_LATER, reason="database away")
        except (WebSocketDisconnect, RuntimeError):
            self.socket.close(code=1000, reason="gone")

    async def _send_queued(self) -> None:
        """Send what waits, a few frames at a time, and the gap behind it."""
        subscriber = self.subscriber
        while subscriber.has_more:
            await self._drained()
            frames = list(islice(iter(subscriber.take, None), FRAMES_PER_TURN))
            if not frames:
                frames = [gap_frame(subscriber.dropped, subscriber.dropped_cursor)]
                subscriber.dropped = 0
            await self._send(frames)

    async def _drained(self) -> None:
        if self.line is not None:
            async with asyncio.timeout(self.sockets.settings.slow_timeout_s):
                await self.line.drained()

    async def _send(self, frames: Sequence[Frame]) -> None:
        """Send frames; raise ``TimeoutError`` for a client that takes none for too long."""
        if self.line is None:
            async with asyncio.timeout(self.sockets.settings.slow_timeout_s):
                for frame in frames:
                    await self.websocket.send_text(frame.text.decode())
        else:
            await self._drained()
            if not self.line.is_free:
                raise WebSocketDisconnect
            self.line.write(wire_form(frames))
        self.subscriber.cursor = frames[-1].cursor

    async def _receive_forever(self) -> None:
        try:
            while (message := await self.websocket.receive())["type"] == "websocket.receive":
                answer = reply(
                    message.get("text") or "", cursor=self.hub.position_of(self.subscriber)
                )
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
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            log.debug("socket_close_unanswered")


def reply(text: str, *, cursor: str) -> bytes | None:
    """Answer a client's message; None for one that is not understood."""
    if len(text) > INCOMING_CHARACTERS_MAX:
        return None
    try:
        message = msgspec.json.decode(text, type=Incoming)
    except msgspec.DecodeError:
        return None
    if message.type == "ping":
        return msgspec.json.encode({"type": "pong", "cursor": cursor})
    return msgspec.json.encode(
        {"type": "error", "message": 'Send {"type": "ping"}.', "cursor": cursor}
    )
