"""Reads request bodies: bounded, inflated, decoded off the event loop when they are large."""

import asyncio
import zlib
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from fieldstation.core.errors import Malformed, TooLarge, UnsupportedMedia
from fieldstation.core.limits import INFLATED_BYTES_MAX, INLINE_DECODE_BYTES_MAX

GZIP_WINDOW = 16 + zlib.MAX_WBITS

T = TypeVar("T")


async def decode_body(request: Request, decode: Callable[[bytes], T]) -> T:
    """Read the body, undo its ``Content-Encoding`` (gzip, deflate) and decode it.

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
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise UnsupportedMedia(f"Content-Encoding {encoding[:20]} is not known; use gzip.")
    window = zlib.MAX_WBITS if encoding == "deflate" else GZIP_WINDOW
    inflater = zlib.decompressobj(window)
    try:
        inflated = inflater.decompress(body, INFLATED_BYTES_MAX + 1)
    except zlib.error as error:
        raise Malformed(f"The body is not valid {encoding}.") from error
    if len(inflated) > INFLATED_BYTES_MAX:
        most = INFLATED_BYTES_MAX // (1024 * 1024)
        raise TooLarge(f"The body inflates to more than {most} MiB; send it in parts.")
    if not inflater.eof:
        raise Malformed(f"The {encoding} body ends too early.")
    return inflated
