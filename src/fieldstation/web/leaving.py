"""Giving up what a request asked for once its client has left."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

CLIENT_LEFT = 499
"""What the access log shows, as that of nginx does; nobody receives it."""


async def unless_left(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return what the work answers; cancel it when the client closes its connection before.

    The request has no body, or it was read. Raises what the work raises.
    """
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(_settled(work), name="answer")
        watching = tasks.create_task(_left(request), name="client-left")
        watching.add_done_callback(lambda _: working.cancel())
        working.add_done_callback(lambda _: watching.cancel())
    if working.cancelled():
        return Response(status_code=CLIENT_LEFT)
    answer = working.result()
    if isinstance(answer, Exception):
        raise answer
    return answer


async def _settled(work: Coroutine[Any, Any, Response]) -> Response | Exception:
    """Give an error back as a value: raised, the group would wrap it."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        return error


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
