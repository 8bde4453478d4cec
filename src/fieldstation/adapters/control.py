"""The socket in the data directory by which the command line talks to a running station: one JSON
line each way."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from fieldstation.core.errors import Busy, Malformed, NotFound, StationError

log = structlog.get_logger(__name__)

LINE_BYTES_MAX = 1024 * 1024
REQUEST_TIMEOUT_S = 600.0

Operation = Callable[..., Awaitable[Any]]


class ControlRequest(msgspec.Struct):
    """What the command line wants done."""

    operation: str
    arguments: dict[str, Any] = {}


class ControlServer:
    """Answers on a Unix socket that only the owner of the data directory can open."""

    def __init__(self, path: Path, operations: Mapping[str, Operation]) -> None:
        self._path = path
        self._operations = operations

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the block lasts."""
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(
            self._answer, path=short_path(self._path), limit=LINE_BYTES_MAX
        )
        self._path.chmod(0o600)
        try:
            yield
        finally:
            server.close()
            self._path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                line = await reader.readuntil(b"\n")
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
                return
            answer = await self._perform(line)
            with contextlib.suppress(ConnectionError):
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()

    async def _perform(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=ControlRequest)
            operation = self._operations.get(request.operation)
            if operation is None:
                unknown = f"The running station knows no operation {request.operation}."
                return failure(NotFound(unknown))
            return {"result": await operation(**request.arguments)}
        except msgspec.DecodeError as error:
            return failure(Malformed(f"The request cannot be read: {error}."))
        except StationError as error:
            return failure(error)
        except Exception:  # a defect costs this request only
            log.exception("control_operation_failed")
            return failure(StationError("The station made a mistake; its log has the details."))


def failure(error: StationError) -> dict[str, Any]:
    return {"error": error.code, "detail": error.detail}


async def ask_station(path: Path, operation: str, arguments: Mapping[str, Any]) -> Any:
    """Have a running station do something; return its result.

    Raises ``FileNotFoundError`` or ``ConnectionRefusedError`` when none runs, ``StationError`` with
    its refusal.
    """
    reader, writer = await asyncio.open_unix_connection(short_path(path), limit=1 << 24)
    with contextlib.closing(writer):
        request = ControlRequest(operation, dict(arguments))
        writer.write(msgspec.json.encode(request) + b"\n")
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readline()
        except TimeoutError as error:
            raise Busy(f"The station did not answer in {REQUEST_TIMEOUT_S:.0f} s.") from error
        if not line:
            raise Busy("The station ended before it answered; look at its log and try again.")
        answer = msgspec.json.decode(line)
    if "error" in answer:
        raise StationError(answer["detail"], code=answer["error"])
    return answer["result"]


def short_path(path: Path) -> str:
    """Return the path relative to here if that is shorter: socket paths end at 107 bytes."""
    absolute = str(path.absolute())
    relative = os.path.relpath(absolute)
    return min(absolute, relative, key=len)
