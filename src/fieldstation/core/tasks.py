"""Keeps background work going: again after a defect, later when something is away."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fieldstation.core.errors import Busy

log = structlog.get_logger(__name__)

RESTART_DELAY_S = 1.0


async def supervise(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Start work that never ends, again if a defect ends it: the station outlives its parts."""
    while True:
        try:
            await work()
        except Exception:  # logged with everything that is known
            log.exception("task_failed", task=name)
        await asyncio.sleep(RESTART_DELAY_S)


async def repeat(work: Callable[[], Awaitable[object]], *, interval_s: float) -> None:
    """Do something again and again; a database that is away only delays it."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            await work()
        except Busy as error:
            log.warning("work_delayed", reason=error.detail)
        heed_cancellation()


def heed_cancellation() -> None:
    """Raise what a client library swallows now and then when it is cancelled while it waits."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
