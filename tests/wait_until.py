"""The only way a test waits: for a condition, with a limit."""

import time
from collections.abc import Awaitable, Callable

import anyio

POLL_INTERVAL_S = 0.01


async def wait_until(
    condition: Callable[[], bool | Awaitable[bool]], *, timeout_s: float = 30.0
) -> None:
    """Return as soon as ``condition`` holds; fail with its name when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        met = condition()
        if not isinstance(met, bool):
            met = await met
        if met:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {describe(condition)}")
        await anyio.sleep(POLL_INTERVAL_S)


def wait_until_blocking(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Do the same where there is no event loop."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {describe(condition)}")
        time.sleep(POLL_INTERVAL_S)


def describe(condition: Callable[..., object]) -> str:
    return getattr(condition, "__qualname__", repr(condition))
