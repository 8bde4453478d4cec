"""Reads request bodies: bounded, inflated, checked, decoded off the event loop when large."""

import asyncio
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldstation.core.errors import (
    Malformed,
    StationError,
    TooLarge,
    UnsupportedMedia,
)
from fieldstation.core.limits import (
    INFLATED_BYTES_MAX,
    INLINE_DECODE_BYTES_MAX,
    JSON_DEPTH_MAX,
)
from fieldstation.web.problems import render_error

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
    """Undo a content encoding, never producing more than the limit."""
    if encoding == "identity":
        return body
    start = INFLATERS.get(encoding)
    if start is None:
        raise UnsupportedMedia(f"Content-Encoding {encoding[:20]} is not known; use gzip.")
    inflated, rest = b"", body
    while True:  # a gzip body is a series of members (RFC 1952), a zstd body of frames (RFC 8878)
        inflater = start()
        try:
            inflated += inflater.decompress(rest, INFLATED_BYTES_MAX + 1 - len(inflated))
        except (zlib.error, zstd.ZstdError) as error:
            raise Malformed(f"The body is not valid {encoding}.") from error
        if len(inflated) > INFLATED_BYTES_MAX:
            most = INFLATED_BYTES_MAX // (1024 * 1024)
            raise TooLarge(f"The body inflates to more than {most} MiB; send it in parts.")
        if not inflater.eof:
            raise Malformed(f"The {encoding} body ends too early.")
        rest = inflater.unused_data
        if not rest:
            return inflated


class BodyCheck:
    """Reads each body whole before FastAPI sees it, and refuses JSON that no database holds.

    That is NaN and infinities, NUL characters, half surrogates, and more than 32 levels.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            body = await request.body()
            if body and "json" in request.headers.get("content-type", "application/json"):
                check_json(body)
        except ClientDisconnect:
            return
        except StationError as error:
            await render_error(error, scope["path"])(scope, receive, send)
            return
        read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return read.pop() if read else await receive()

        await self.app(scope, receive_again, send)


def check_json(body: bytes) -> None:
    """Refuse what FastAPI would let through. Raises ``Malformed`` and ``TooLarge``."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("The body is not valid JSON.") from error
    if body.count(b"[") + body.count(b"{") > JSON_DEPTH_MAX and depth_of(content) > JSON_DEPTH_MAX:
        raise TooLarge(f"The JSON is nested deeper than {JSON_DEPTH_MAX} levels.", code="too_deep")
    if b"\\u" in body and not all(map(is_storable, texts_of(content))):
        raise Malformed("A text holds a NUL character or half a surrogate pair.")


def depth_of(content: Any) -> int:
    """Return how deep a decoded JSON value nests, no further than one past the limit."""
    level = 0
    layer: list[Any] = [content]
    while layer and level <= JSON_DEPTH_MAX:
        level += 1
        layer = [inner for outer in layer for inner in contents_of(outer)]
    return level


def texts_of(content: Any) -> Iterator[str]:
    """Yield every text and key of a decoded JSON value of bounded depth."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        yield from map(str, content)
    for inner in contents_of(content):
        yield from texts_of(inner)


def contents_of(content: Any) -> Iterator[Any]:
    if isinstance(content, dict):
        yield from content.values()
    elif isinstance(content, list):
        yield from content


def is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
