"""The bus of several nodes: what one publishes reaches its own subscribers at once and the other
nodes' through Redis.

Redis only makes things faster. What must not be lost is also polled by its consumer or stands in
the outbox, so a node without Redis works on and says so in its health.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from fieldstation.bus.memory import MemoryBus
from fieldstation.bus.ports import E
from fieldstation.core.events import Event
from fieldstation.core.settings import RedisSettings
from fieldstation.core.tasks import heed_cancellation

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

EVENTS_WAITING_MAX = 10_000
BYTES_WAITING_MAX = 32 << 20
HEARTBEAT_INTERVAL_S = 1.0
SILENCE_S_MAX = 3.0
TIMEOUT_S = 2.0
RECONNECT_DELAY_S = 0.1
RECONNECT_DELAY_S_MAX = 5.0
HEARTBEAT = msgspec.Raw(b"null")


class Envelope(msgspec.Struct, array_like=True, frozen=True):
    """What travels: who sent it, the event's type by name, the event; a heartbeat has no name."""

    node_id: str
    name: str
    event: msgspec.Raw


class RedisBus:
    """A ``MemoryBus`` whose events the other nodes of the station hear as well, at most once.

    ``publish`` never waits: events queue for Redis, at most ``EVENTS_WAITING_MAX`` and
    ``BYTES_WAITING_MAX``; then, or while Redis is away for longer than an event is worth anything,
    the oldest go.
    """

    kind = "redis"

    def __init__(self, settings: RedisSettings, *, node_id: str) -> None:
        self._redis_package = load_client()
        self._url = settings.url or ""
        self._channel = f"{settings.prefix}:events"
        self._node_id = node_id
        self._local = MemoryBus()
        self._types: dict[str, type[Event]] = {}
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._waiting_bytes = 0
        self.is_connected = False
        self.interruptions = 0

    def publish(self, event: Event) -> None:
        """Deliver here at once, elsewhere soon."""
        name = type(event).__name__
        if name in self._types:
            self._wait(self._encode(name, msgspec.json.encode(event)))
            self._wake.set()
        self.deliver(event)

    def _wait(self, packed: bytes) -> None:
        self._waiting.append(packed)
        self._waiting_bytes += len(packed)
        while len(self._waiting) > EVENTS_WAITING_MAX or self._waiting_bytes > BYTES_WAITING_MAX:
            self._waiting_bytes -= len(self._waiting.popleft())

    def deliver(self, event: Event) -> None:
        """Deliver here only: the other nodes find out by themselves."""
        self._local.publish(event)

    def subscribe(self, event_type: type[E], handler: Callable[[E], None]) -> Callable[[], None]:
        """Hear events of this type from every node; one of another node may come twice."""
        self._types[event_type.__name__] = event_type
        return self._local.subscribe(event_type, handler)

    async def run_forever(self) -> None:
        """Keep in touch with Redis until cancelled: reconnect with growing, random delays."""
        delay_s = RECONNECT_DELAY_S
        while True:
            reason = await self._stay_connected()
            if self.is_connected:
                delay_s = RECONNECT_DELAY_S
                log.warning("redis_lost", reason=reason)
                self.interruptions += 1
            self.is_connected = False
            heed_cancellation()
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            delay_s = min(delay_s * 2, RECONNECT_DELAY_S_MAX)

    async def _stay_connected(self) -> str:
        """Send and receive until one of both fails; return why."""
        client = self._client()
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as tasks:
                talking = [
                    tasks.create_task(self._until_lost(work, over), name=name)
                    for name, work in (
                        ("bus-send", self._send_forever(client)),
                        ("bus-receive", self._receive_forever(client)),
                    )
                ]
                reason = await over
                for task in talking:
                    task.cancel()
        finally:
            with suppress(self._redis_package.RedisError, OSError, TimeoutError):
                await client.aclose()
        return reason

    async def _until_lost(self, work: Coroutine[Any, Any, None], over: asyncio.Future[str]) -> None:
        """Do one half; its failure ends the other."""
        try:
            await work
        except (self._redis_package.RedisError, OSError, TimeoutError) as error:
            if not over.done():
                over.set_result(str(error) or type(error).__name__)

    def _client(self) -> "Redis":
        """Make a client that fails at once: trying again is this module's business."""
        package = self._redis_package
        return package.asyncio.Redis.from_url(
            self._url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=package.asyncio.retry.Retry(package.backoff.NoBackoff(), 0),
            client_name="fieldstation",
        )

    async def _send_forever(self, client: "Redis") -> None:
        """Send what waits; when nothing does, a heartbeat that comes back to us."""
        while True:
            sent = self._waiting[0] if self._waiting else self._encode("", HEARTBEAT)
            await client.publish(self._channel, sent)
            heed_cancellation()
            if self._waiting and self._waiting[0] is sent:  # the oldest may have gone meanwhile
                self._waiting_bytes -= len(self._waiting.popleft())
            if not self._waiting:
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_INTERVAL_S):
                        await self._wake.wait()

    async def _receive_forever(self, client: "Redis") -> None:
        """Deliver what comes; raise ``TimeoutError`` when not even our own heartbeat does."""
        async with client.pubsub() as subscription:
            await subscription.subscribe(self._channel)
            while True:
                message = await subscription.get_message(timeout=SILENCE_S_MAX)
                heed_cancellation()
                if message is None:
                    raise TimeoutError("Redis is silent.")
                self.is_connected = True
                data = message["data"]
                if isinstance(data, bytes):  # not a confirmation of the subscription
                    self._hear(data)

    def _hear(self, packed: bytes) -> None:
        """Deliver another node's event; one that is not understood (of a newer node) is left."""
        try:
            envelope = msgspec.json.decode(packed, type=Envelope)
            event_type = self._types.get(envelope.name)
            if envelope.node_id == self._node_id or event_type is None:
                return
            event = msgspec.json.decode(envelope.event, type=event_type)
        except msgspec.DecodeError as error:
            log.warning("bus_message_not_understood", reason=str(error))
            return
        self.deliver(event)

    def _encode(self, name: str, event: bytes) -> bytes:
        return msgspec.json.encode(Envelope(self._node_id, name, msgspec.Raw(event)))


def load_client() -> Any:  # a module that need not be installed has no type
    """Import redis-py, which only stations with several nodes install."""
    try:
        import_module("redis.asyncio.retry")
        import_module("redis.backoff")
        return import_module("redis")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "REDIS_URL needs an extra: pip install 'fieldstation[redis]'", name=error.name
        ) from error
