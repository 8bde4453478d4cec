"""Sends a file that is made while it is read: as fast as a client takes it, whole or broken off."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from fieldstation.core.errors import StationError

log = structlog.get_logger(__name__)


class SentFile(StreamingResponse):
    """Pieces of a generator as one attachment.

    The first piece is there before the answer begins, so what goes wrong until then is refused with
    a problem. Later the body is left without its end, which closes the connection: no client takes
    it for whole. So ends, too, what a client takes nothing of for ``stall_timeout_s``, and what it
    no longer wants.
    """

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: dict[str, str],
        stall_timeout_s: float,
    ) -> None:
        super().__init__(rest, media_type=media_type, headers=headers)
        self._first = first
        self._rest = rest
        self._stall_timeout_s = stall_timeout_s

    @classmethod
    async def begin(
        cls,
        pieces: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        name: str,
        length: int | None,
        stall_timeout_s: float,
    ) -> "SentFile":
        """Wait for the first piece. Raises what its making raises."""
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        if length is not None:
            headers["Content-Length"] = str(length)
        first = await anext(pieces, b"")
        return cls(
            first,
            pieces,
            media_type=media_type,
            headers=headers,
            stall_timeout_s=stall_timeout_s,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        try:
            await self._send_piece(send, self._first)
            async for piece in self._rest:
                await self._send_piece(send, piece)
        except TimeoutError:
            log.warning("download_stalled", stall_timeout_s=self._stall_timeout_s)
            return
        except StationError as error:
            log.warning("download_broken_off", reason=error.detail)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_piece(self, send: Send, piece: bytes) -> None:
        async with asyncio.timeout(self._stall_timeout_s):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
