"""Reads request bodies: bounded, inflated, checked, decoded off the event loop when large."""

import asyncio
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import msgspec
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldstation.core.errors import (
    Malformed,
    StationError,
    TooDeep,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from fieldstation.core.limits import (
    BINARY_MARKS_MAX,
    FORM_BYTES_MAX,
    INFLATED_BYTES_MAX,
    INLINE_DECODE_BYTES_MAX,
    JSON_DEPTH_MAX,
    ROUTE_BODY_BYTES_MAX,
    ROUTE_BODY_VALUES_MAX,
    UNKNOWN_CALLER_BODY_BYTES_MAX,
)
from fieldstation.web.problems import render_error
from fieldstation.web.rate_limits import Recognise
from fieldstation.web.routing import Routers, http_routes

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_WINDOW = 16 + zlib.MAX_WBITS
# RFC 8878 asks every decoder for 8 MiB; with more a body could claim any amount of memory.
ZSTD_WINDOW_LOG_MAX = 23
INFLATERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(GZIP_WINDOW),
    "x-gzip": lambda: zlib.decompressobj(GZIP_WINDOW),
    "deflate": lambda: zlib.decompressobj(zlib.MAX_WBITS),
    "zstd": lambda: zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG_MAX}
    ),
}
MEMBERS_MAX = 1_024
BINARY_MARKS = bytes(range(0x80, 0xE0))
SLICE_BYTES = 64 * 1024
CONTAINERS: tuple[type, ...] = (dict, list)
JSON = "application/json"
JSON_TYPES = re.compile(r"application/([\w.!#$&^-]+\+)?json\Z")
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

T = TypeVar("T")


async def decode_body(request: Request, decode: Callable[[bytes], T]) -> T:
    """Read the body, undo its ``Content-Encoding`` (gzip, deflate, zstd) and decode it.

    Raises ``TooLarge`` beyond the limits, ``UnsupportedMedia`` for another encoding and whatever
    ``decode`` raises.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    try:
        body = await request.body()
    except ClientDisconnect as error:
        raise Malformed("The connection ended before the body did.") from error
    if encoding == "identity" and len(body) <= INLINE_DECODE_BYTES_MAX:
        return decode(body)
    return await asyncio.to_thread(lambda: decode(inflate(body, encoding)))


def inflate(body: bytes, encoding: str) -> bytes:
    """Undo a content encoding, never producing more than the limit; cost: linear in the body."""
    if encoding == "identity":
        return body
    start = INFLATERS.get(encoding)
    if start is None:
        raise UnsupportedMedia(f"Content-Encoding {encoding[:20]} is not known; use gzip.")
    inflated: list[bytes] = []
    rest, room = memoryview(body), INFLATED_BYTES_MAX
    # A gzip body is a series of members (RFC 1952), a zstd body of frames (RFC 8878).
    for _ in range(MEMBERS_MAX):
        try:
            parts, rest = inflate_member(start(), rest, room)
        except (zlib.error, zstd.ZstdError, EOFError) as error:
            raise Malformed(f"The body is not valid {encoding}.") from error
        inflated += parts
        room -= sum(map(len, parts))
        if not rest:
            return b"".join(inflated)
    raise TooLarge(f"The body has more than {MEMBERS_MAX} {encoding} members; compress it as one.")


def inflate_member(inflater: Any, body: memoryview, room: int) -> tuple[list[bytes], memoryview]:
    """Return what one member holds, in parts, and what stands behind it.

    It is fed in slices, because an inflater copies whatever it was fed behind its end.
    """
    parts: list[bytes] = []
    while not inflater.eof:
        if not body:
            raise Malformed("The compressed body ends too early.")
        part = inflater.decompress(body[:SLICE_BYTES], room + 1)
        room -= len(part)
        if room < 0:
            most = INFLATED_BYTES_MAX // (1024 * 1024)
            raise TooLarge(f"The body inflates to more than {most} MiB; send it in parts.")
        parts.append(part)
        body = body[len(body[:SLICE_BYTES]) - len(inflater.unused_data) :]
    return parts, body


class BodyCheck:
    """Reads the body of a route that takes one before FastAPI does, and refuses what is not for it.

    That is another content type, much from callers whom nobody knows, more than FastAPI can decode
    and judge in a moment, which it does on the event loop, and JSON that no database holds: NaN and
    infinities, NUL characters, half surrogates, more than 32 levels.
    """

    def __init__(self, app: ASGIApp, *, routers: Routers, recognise: Recognise) -> None:
        self.app = app
        self.recognise = recognise
        self.taking = [
            (method, route, getattr(route.body_field.field_info, "media_type", JSON))
            for route in http_routes(routers)
            if route.body_field is not None
            for method in route.methods or ()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(scope) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        scope["route"], media = found
        try:
            most = ROUTE_BODY_BYTES_MAX if media == JSON else FORM_BYTES_MAX
            body = await self.read(scope, receive, bytes_max=most)
            if body:
                await check(body, Headers(scope=scope), media)
        except ClientDisconnect:
            return
        except StationError as error:
            await render_error(error, scope["path"])(scope, receive, send)
            return
        read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return read.pop() if read else await receive()

        await self.app(scope, receive_again, send)

    def find(self, scope: Scope) -> tuple[APIRoute, str] | None:
        """Return the route and the content type that it takes; None where no body is read."""
        method, path = scope["method"], scope["path"]
        return next(
            (
                (route, media)
                for wanted, route, media in self.taking
                if wanted == method and route.path_regex.match(path)
            ),
            None,
        )

    async def read(self, scope: Scope, receive: Receive, *, bytes_max: int) -> bytes:
        """Read a body; of callers whom nobody knows no further than to the smaller limit.

        Raises ``Unauthenticated`` and ``TooLarge``.
        """
        parts: list[bytes] = []
        size, known = 0, False
        async for part in Request(scope, receive).stream():
            parts.append(part)
            size += len(part)
            if size > UNKNOWN_CALLER_BODY_BYTES_MAX and not known:
                if await self.recognise.caller(dict(scope["headers"][::-1])) is None:
                    most = UNKNOWN_CALLER_BODY_BYTES_MAX // 1024
                    raise Unauthenticated(f"A body of more than {most} KiB needs a valid token.")
                known = True
            if size > bytes_max:
                raise too_large(bytes_max)
        return b"".join(parts)


async def check(body: bytes, headers: Headers, media: str) -> None:
    """Refuse a body that the route does not read. Raises ``StationError``."""
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMedia(f"This route reads no {encoding[:20]}; send the body as it is.")
    given = content_type(headers, default=media)
    if media == JSON:
        if not JSON_TYPES.match(given):
            raise unsupported(given, f"Content-Type: {JSON}")
        if len(body) > INLINE_DECODE_BYTES_MAX:
            await asyncio.to_thread(check_json, body)
        else:
            check_json(body)
    elif given not in FORM_TYPES:
        raise unsupported(given, f"a form, Content-Type: {media}")


def content_type(headers: Headers, *, default: str) -> str:
    """Return the content type without its parameters, in lower case."""
    return headers.get("content-type", default).partition(";")[0].strip().lower()


def unsupported(given: str, wanted: str) -> UnsupportedMedia:
    return UnsupportedMedia(f"This route does not read {given[:60]}; send {wanted}.")


def check_json(body: bytes) -> None:
    """Refuse what FastAPI would let through, or would take long for.

    Raises ``Malformed`` and ``TooLarge``.
    """
    try:
        content = msgspec.json.decode(body)
    except RecursionError as error:
        raise too_deep("JSON") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("The body is not valid JSON.") from error
    containers = count_containers(body)
    if containers + body.count(b",") > ROUTE_BODY_VALUES_MAX:
        check_values(content)
    if containers > JSON_DEPTH_MAX:
        check_depth(content)
    if b"\\u" in body and not all(map(is_storable, texts_of(content))):
        raise Malformed("A text holds a NUL character or half a surrogate pair.")


def check_values(content: Any) -> None:
    """Refuse more values than FastAPI judges in a moment: it says of each what is wrong with it.

    Raises ``TooLarge``.
    """
    count = 0
    for layer in layers_of(content):
        count += sum(map(len, layer))
        if count > ROUTE_BODY_VALUES_MAX:
            raise too_many_values()


def count_containers(body: bytes) -> int:
    """Return how many lists and objects a JSON body has at most; each costs far more than its
    bytes."""
    return body.count(b"[") + body.count(b"{")


def check_marks(body: bytes) -> None:
    """Refuse CBOR and MessagePack with more bytes that may begin a list, a map or a tag than any
    request needs. Raises ``TooLarge``."""
    if len(body) > BINARY_MARKS_MAX:
        marks = len(body) - len(body.translate(None, BINARY_MARKS))
        if marks > BINARY_MARKS_MAX:
            raise too_many_values()


def too_many_values() -> TooLarge:
    return TooLarge(
        "The body has more lists and objects than a request needs; send it in parts.",
        code="too_many_values",
    )


def check_depth(content: Any, encoding: str = "JSON") -> None:
    """Refuse a decoded value that nests too deep. Raises ``TooDeep``."""
    if depth_of(content) > JSON_DEPTH_MAX:
        raise too_deep(encoding)


def too_deep(encoding: str) -> TooDeep:
    return TooDeep(f"The {encoding} is nested deeper than {JSON_DEPTH_MAX} levels.")


def too_large(bytes_max: int) -> TooLarge:
    kib = bytes_max // 1024
    most = f"{kib // 1024} MiB" if kib >= 1024 else f"{kib} KiB"
    return TooLarge(f"The body is larger than {most}; send it in parts.")


def depth_of(content: Any) -> int:
    """Return how deep lists and objects of a decoded value nest, no further than one past the
    limit."""
    return sum(1 for _ in islice(layers_of(content), JSON_DEPTH_MAX + 1))


def layers_of(content: Any) -> Iterator[list[Any]]:
    """Yield the lists and objects of each level, the outermost first."""
    layer = [content] if isinstance(content, CONTAINERS) else []
    while layer:
        yield layer
        layer = [
            inner
            for outer in layer
            for inner in contents_of(outer)
            if isinstance(inner, CONTAINERS)
        ]


def texts_of(content: Any) -> Iterator[str]:
    """Yield every text and key of a decoded JSON value of bounded depth."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        yield from (key for key in content if isinstance(key, str))
    for inner in contents_of(content):
        yield from texts_of(inner)


def contents_of(content: Any) -> Iterator[Any]:
    if isinstance(content, dict):
        yield from content.values()
    elif isinstance(content, list):
        yield from content


def is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
