"""One socket's life without a network: expiry, revocation, a client that does not read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocket

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Forbidden
from fieldstation.core.settings import LiveSettings
from fieldstation.domains.audit.schemas import Actor
from fieldstation.domains.identity.schemas import Caller
from fieldstation.domains.live.frames import Frame
from fieldstation.domains.live.hub import Hub
from fieldstation.domains.live.sockets import Feed, Sockets, reply
from fieldstation.domains.live.subscribers import Subscriber
from tests.domains.telemetry.pipeline import START, pipeline
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


class Peer:
    """The other end of a socket: reads only while it is told to, or as much as it is told to."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.permits = asyncio.Semaphore(0)
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.incoming.put_nowait({"type": "websocket.connect"})

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send" and not self.reads.is_set():
            await self.permits.acquire()
        self.sent.append(message)

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(m["text"]) for m in self.sent if m["type"] == "websocket.send"]

    @property
    def closed(self) -> tuple[int, str] | None:
        found = [m for m in self.sent if m["type"] == "websocket.close"]
        return (found[0]["code"], found[0]["reason"]) if found else None

    def read_on(self) -> None:
        self.reads.set()
        self.permits.release()

    def say(self, text: str) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text": text})


def caller(expires_in_s: float | None = None, *, user_id: str = "ada") -> Caller:
    expires_at = None if expires_in_s is None else START + timedelta(seconds=expires_in_s)
    return Caller(
        organization_id="organization",
        user_id=user_id,
        device_id=None,
        scopes=frozenset({"telemetry:read"}),
        superuser=False,
        subjects=frozenset({user_id, "key-7"}),
        expires_at=expires_at,
        actor=Actor("user", user_id),
    )


class Opened:
    """A feed that runs, with everything around it."""

    def __init__(self, whose: Caller, **limits: Any) -> None:
        settings = LiveSettings.model_validate(limits)
        self.clock = ManualClock(START)
        self.sockets, self.hub = Sockets(settings, self.clock), Hub(self.clock, node_id="node")
        self.peer = Peer()
        websocket = WebSocket({"type": "websocket"}, self.peer.incoming.get, self.peer.send)
        self.websocket = websocket
        self.socket = self.sockets.admit(whose)
        self.subscriber = Subscriber("organization", settings.queue_frames_max)
        self.feed = Feed(websocket, self.socket, self.subscriber, self.sockets, self.hub)

    def push(self, count: int) -> None:
        for n in range(count):
            self.subscriber.push([Frame(json.dumps({"n": n}).encode(), f"node.0.{n}", 1)])


@asynccontextmanager
async def opened(whose: Caller | None = None, **limits: Any) -> AsyncIterator[Opened]:
    feed = Opened(whose or caller(), **limits)
    await feed.websocket.accept()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(feed.feed.run(None), name="feed")
        await wait_until(lambda: len(feed.hub) == 1 or feed.peer.closed is not None)
        yield feed
        running.cancel()


async def test_frames_are_sent_in_order() -> None:
    async with opened() as feed:
        feed.push(5)
        await wait_until(lambda: len(feed.peer.frames) == 5)
        assert feed.peer.frames == [{"n": n} for n in range(5)]


async def test_a_socket_ends_with_its_token() -> None:
    async with opened(caller(0.05)) as feed:
        await wait_until(lambda: feed.peer.closed is not None)
        assert feed.peer.closed == (1008, "token expired")
        assert len(feed.hub) == 0


async def test_a_token_that_is_over_already_ends_the_socket_at_once() -> None:
    async with opened(caller(-5)) as feed:
        await wait_until(lambda: feed.peer.closed == (1008, "token expired"))


@pytest.mark.parametrize("subject", ["ada", "key-7"])
async def test_a_revoked_credential_ends_its_sockets_only(subject: str) -> None:
    async with opened() as feed:
        other = feed.sockets.admit(caller(user_id="bob"))
        feed.sockets.revoke("somebody else")
        assert not feed.socket.closing.is_set()
        feed.sockets.revoke(subject)
        await wait_until(lambda: feed.peer.closed == (1008, "credential revoked"))
        assert other.closing.is_set() == (subject == "key-7")


async def test_stopping_says_so_to_every_socket() -> None:
    async with opened() as feed:
        feed.sockets.close_all()
        await wait_until(lambda: feed.peer.closed == (1012, "station restarts"))


async def test_a_slow_client_is_told_what_it_lost_and_goes_on() -> None:
    async with opened(WS_QUEUE_FRAMES_MAX=3) as feed:
        feed.peer.reads.clear()
        feed.push(1)
        await wait_until(lambda: not feed.subscriber.frames)  # one is on its way
        feed.push(8)
        feed.peer.read_on()
        await wait_until(lambda: len(feed.peer.frames) == 5)
        *sent, gap = feed.peer.frames
        assert [frame["n"] for frame in sent] == [0, 0, 1, 2]
        assert gap == {"type": "gap", "dropped": 5, "cursor": "node.0.7"}
        feed.push(1)
        await wait_until(lambda: len(feed.peer.frames) == 6)
        assert feed.peer.closed is None


async def test_no_frame_behind_a_gap_is_shown_before_the_gap(tmp_path: Path) -> None:
    """Its cursor would make a client that resumes there skip what was dropped, unknowingly."""
    async with opened(WS_QUEUE_FRAMES_MAX=2) as feed, pipeline(tmp_path) as running:
        running.writer.consumers.append(feed.hub.publish)

        async def send(value: int) -> None:
            await running.take({"sensor_type": "t", "value": value})

        feed.peer.reads.clear()
        await send(0)
        await wait_until(lambda: not feed.subscriber.frames)  # one is on its way
        for value in (1, 2, 3):  # the last one is dropped
            await send(value)
        feed.peer.permits.release()
        await wait_until(lambda: len(feed.subscriber.frames) < 2)
        await send(4)  # there is room again
        feed.peer.read_on()
        await wait_until(lambda: any(frame["type"] == "gap" for frame in feed.peer.frames))
        shown = [frame["data"]["value"] for frame in before_the_gap(feed.peer.frames)]
        assert shown == list(range(len(shown))), "a reading was skipped before the gap was told"


def before_the_gap(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return frames[: [frame["type"] for frame in frames].index("gap")]


async def test_a_client_that_takes_nothing_is_closed() -> None:
    async with opened(WS_SLOW_TIMEOUT_S=0.05) as feed:
        feed.peer.reads.clear()
        feed.push(2)
        await wait_until(lambda: feed.peer.closed is not None)
        assert feed.peer.closed == (1013, "too slow")


async def test_a_client_that_leaves_is_forgotten() -> None:
    async with opened() as feed:
        feed.peer.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await wait_until(lambda: len(feed.hub) == 0)
        assert feed.socket.code == 1000


async def test_pings_are_answered_and_nonsense_ends_the_socket() -> None:
    async with opened() as feed:
        feed.peer.say('{"type": "ping", "n": 1}')
        feed.peer.say('{"type": "dance"}')
        await wait_until(lambda: len(feed.peer.frames) == 2)
        assert [frame["type"] for frame in feed.peer.frames] == ["pong", "error"]
        assert all(frame["cursor"] == "node.0.-1" for frame in feed.peer.frames)
        feed.peer.say("no json")
        await wait_until(lambda: feed.peer.closed == (1008, "unknown message"))


@pytest.mark.parametrize("text", ["", "null", "[]", '{"a": 1}', '{"type": 5}', "x" * 4_097])
def test_what_is_no_message_has_no_answer(text: str) -> None:
    assert reply(text, cursor="node.0.-1") is None


def test_one_caller_has_so_many_sockets_and_another_one_their_own() -> None:
    sockets = Sockets(LiveSettings(), ManualClock(START))
    mine = [sockets.admit(caller()) for _ in range(5)]
    with pytest.raises(Forbidden, match=r"too many sockets$"):
        sockets.admit(caller())
    sockets.admit(caller(user_id="bob"))
    assert len(sockets) == 6
    for socket in mine[:2]:
        sockets.leave(socket)
        sockets.leave(socket)
    sockets.admit(caller())
    assert len(sockets) == 5


def test_one_organization_has_so_many_sockets_and_another_one_its_own() -> None:
    limits = {"WS_SOCKETS_PER_ORGANIZATION_MAX": 2}
    sockets = Sockets(LiveSettings.model_validate(limits), ManualClock(START))
    first, _ = (sockets.admit(caller(user_id=name)) for name in ("ada", "bob"))
    with pytest.raises(Forbidden, match="of this organization"):
        sockets.admit(caller(user_id="eve"))
    sockets.admit(replace(caller(user_id="eve"), organization_id="elsewhere"))
    sockets.leave(first)
    sockets.admit(caller(user_id="eve"))
    assert len(sockets) == 3
