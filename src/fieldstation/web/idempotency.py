"""Idempotency-Key: a request that creates something is done once, however often it is sent."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldstation.core.errors import Busy, Conflict, Malformed
from fieldstation.core.limits import INLINE_DECODE_BYTES_MAX
from fieldstation.db.idempotency import First, IdempotencyKeys
from fieldstation.web.rate_limits import Recognise, address_of
from fieldstation.web.routing import Routers, http_routes

log = structlog.get_logger(__name__)

HEADER = b"idempotency-key"
REPLAYED = "Idempotency-Replayed"
ACCEPTABLE = re.compile(rb"[\x21-\x7e]{1,255}\Z")
WAIT_S = 10.0
LOOK_INTERVAL_S = 0.05
RESULT_BYTES_MAX = 2 * 1024 * 1024
UNFREED_MAX = 10_000
SHOWN_ONCE = frozenset({"api_key", "password", "secret"})
"""Members of an answer that are secrets: a repetition gets null instead, and none is stored."""


class Idempotency:
    """Remembers what requests with a key came to: the same key again gets the first result.

    The key belongs to the caller and the path. A request that was refused or failed changed
    nothing, so its key is free again, if need be later: when the database is back. One whose end is
    not known (the station died in between) is never done a second time.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: IdempotencyKeys,
        recognise: Recognise,
        routers: Routers,
        wait_s: float = WAIT_S,
    ) -> None:
        self.app = app
        self.keys = keys
        self.recognise = recognise
        self.wait_s = wait_s
        self.unfreed: OrderedDict[str, None] = OrderedDict()
        self.creating = [
            route
            for route in http_routes(routers)
            if "POST" in (route.methods or ()) and route.status_code == 201
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        key = next((value for name, value in scope["headers"] if name == HEADER), None)
        if key is None or not self.creates(scope["path"]):
            await self.app(scope, receive, send)
            return
        await self.once(key, scope, receive, send)

    def creates(self, path: str) -> bool:
        return any(route.path_regex.match(path) for route in self.creating)

    async def once(self, key: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Do it, or answer what came of it. Raises ``Malformed``, ``Conflict``, ``Busy``."""
        if not ACCEPTABLE.match(key):
            raise Malformed("An Idempotency-Key has 1 to 255 printable characters, no spaces.")
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return
        digest = digest_of(await self.caller(scope), scope["path"].encode(), key)
        body_digest = await digest_body(scope["query_string"], body)
        if digest in self.unfreed:
            await self.keys.give_back(digest)
            self.unfreed.pop(digest, None)
        first = await self.keys.claim(digest, body_digest)
        if first is None:
            await self.execute(digest, body, scope, receive, send)
            return
        if first.body_digest != body_digest:
            raise reused_key()
        await replay(await self.outcome(digest, first))(scope, receive, send)

    async def caller(self, scope: Scope) -> bytes:
        """Name whose key it is: a user or device in the organization they name, or an address."""
        headers: Mapping[bytes, bytes] = dict(scope["headers"][::-1])
        named = headers.get(b"x-organization")
        organization = b"" if named is None else b"=" + named
        known = await self.recognise.caller(headers)
        who = address_of(scope) if known is None else f"{known.kind} {known.id}"
        return who.encode() + b"\0" + organization

    async def execute(
        self, digest: str, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        result = Result(send)
        read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return read.pop() if read else await receive()

        try:
            await self.app(scope, receive_again, result.hold)
        except BaseException:
            if not result.succeeded:
                await self.forget(digest)
            raise
        if result.succeeded:
            await self.keep(digest, result)
        else:
            await self.forget(digest)
        await result.release()

    async def keep(self, digest: str, result: "Result") -> None:
        """Keep the result before the answer leaves, so that a repetition never overtakes it."""
        try:
            await self.keys.keep(digest, status=result.status, body=without_secrets(result.body))
        except Busy as error:  # done all the same; a repetition is told that its end is not known
            log.warning("idempotency_result_lost", reason=error.detail)

    async def forget(self, digest: str) -> None:
        try:
            await self.keys.give_back(digest)
        except Busy as error:
            log.warning("idempotency_key_not_freed", reason=error.detail)
            self.unfreed[digest] = None
            if len(self.unfreed) > UNFREED_MAX:
                self.unfreed.popitem(last=False)

    async def outcome(self, digest: str, first: First) -> First:
        """Wait, not for long, until the first request is done.

        Raises ``Conflict`` if its end is not known, ``Busy`` if it did nothing.
        """
        found: First | None = first
        for _ in range(int(self.wait_s / LOOK_INTERVAL_S)):
            if found is None:
                raise Busy("The first request with this key did nothing; send it again.")
            if found.status is not None:
                return found
            await asyncio.sleep(LOOK_INTERVAL_S)
            found = await self.keys.look(digest)
        raise unfinished()


class Result:
    """Holds an answer back until it is kept."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []
        self.status = 0
        self.body = b""

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    async def hold(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
        self._held.append(message)

    async def release(self) -> None:
        for message in self._held:
            await self._send(message)


async def digest_body(query: bytes, body: bytes) -> str:
    if len(body) > INLINE_DECODE_BYTES_MAX:
        return await asyncio.to_thread(digest_of, query, body)
    return digest_of(query, body)


def digest_of(*parts: bytes) -> str:
    """Hash parts so that no two lists of parts look alike."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()


def without_secrets(body: bytes) -> bytes | None:
    """Return a JSON answer with its secrets as null; None for what is too large to keep."""
    if len(body) > RESULT_BYTES_MAX:
        return None
    content = msgspec.json.decode(body) if body else None
    if isinstance(content, dict):
        content = {name: None if name in SHOWN_ONCE else part for name, part in content.items()}
    return msgspec.json.encode(content)


def reused_key() -> Conflict:
    return Conflict(
        "This Idempotency-Key came with another body before; use a new key.",
        code="idempotency_key_reused",
    )


def unfinished() -> Conflict:
    return Conflict(
        "The first request with this key has not ended, or nobody knows how; "
        "look whether its object is there.",
        code="idempotency_unfinished",
    )


def result_too_large() -> Conflict:
    return Conflict(
        "The first request was done, but its answer was too large to keep; read the object.",
        code="idempotency_result_too_large",
    )


def replay(first: First) -> Response:
    if first.body is None or first.status is None:
        raise result_too_large()
    headers: dict[str, Any] = {REPLAYED: "true"}
    return Response(first.body, first.status, headers=headers, media_type="application/json")
