"""Files that are made while they are sent: whole, refused at once, or visibly broken off."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.types import Message

from fieldstation.core.errors import Busy
from fieldstation.web.sending import SentFile

pytestmark = pytest.mark.anyio
SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "asgi": {}}


class Pieces:
    """Yields pieces and then, perhaps, fails; says when it was closed."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error
        self.closed = False

    async def made(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._pieces:
                yield piece
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


class Client:
    """Takes so many messages; then it goes away, or stays and takes nothing."""

    def __init__(self, *, takes: int = 1_000, stays: bool = False) -> None:
        self.messages: list[Message] = []
        self.gone = asyncio.Event()
        self._takes = takes
        self._stays = stays

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if len(self.messages) == self._takes:
            if not self._stays:
                self.gone.set()
            await asyncio.Event().wait()
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def is_whole(self) -> bool:
        return self.messages[-1].get("more_body") is False


async def begin(pieces: Pieces, *, length: int | None = None, stall_s: float = 20.0) -> SentFile:
    return await SentFile.begin(
        pieces.made(), media_type="text/csv", name="a.csv", length=length, stall_timeout_s=stall_s
    )


async def send(file: SentFile, client: Client) -> None:
    await file(SCOPE, client.receive, client.send)


async def test_a_whole_file_says_its_name_and_ends() -> None:
    pieces, client = Pieces(b"one", b"two"), Client()
    await send(await begin(pieces, length=6), client)
    headers = dict(client.messages[0]["headers"])
    assert headers[b"content-disposition"] == b'attachment; filename="a.csv"'
    assert headers[b"content-length"] == b"6"
    assert (client.body, client.is_whole, pieces.closed) == (b"onetwo", True, True)


async def test_an_empty_file_is_whole_too() -> None:
    client = Client()
    await send(await begin(Pieces(), length=0), client)
    assert (client.body, client.is_whole) == (b"", True)


async def test_what_fails_before_the_first_piece_is_refused_as_usual() -> None:
    with pytest.raises(Busy, match="away"):
        await begin(Pieces(error=Busy("The database is away.")))


async def test_what_fails_later_has_no_end() -> None:
    pieces, client = Pieces(b"one", b"two", error=Busy("The database is away.")), Client()
    await send(await begin(pieces), client)
    assert (client.body, client.is_whole) == (b"onetwo", False)


async def test_a_defect_has_no_end_and_is_raised_for_the_log() -> None:
    client = Client()
    file = await begin(Pieces(b"one", error=ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await send(file, client)
    assert not client.is_whole


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    pieces, client = Pieces(b"one", b"two", b"three"), Client(takes=2, stays=True)
    await send(await begin(pieces, stall_s=0.05), client)
    assert (client.body, client.is_whole, pieces.closed) == (b"one", False, True)


async def test_a_client_that_goes_away_ends_the_making() -> None:
    pieces, client = Pieces(b"one", b"two", b"three"), Client(takes=2)
    await send(await begin(pieces), client)
    assert (client.body, pieces.closed) == (b"one", True)
