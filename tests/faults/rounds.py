"""Rounds with and without a disturbance, in turns, so that both see the same machine."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from statistics import median

ROUNDS = 4
RATIO_MAX = 1.2
FLOOR_S = 0.01
"""Below this a difference is the machine's, not the station's."""


async def refuse_slower(
    measure: Callable[[], Awaitable[Sequence[float]]],
    disturbance: Callable[[], AbstractAsyncContextManager[object]],
) -> None:
    """Fail if the typical round's p99 grows by more than a fifth beside the disturbance."""
    calm, disturbed = list[float](), list[float]()
    await measure()  # the first round warms up
    for _ in range(ROUNDS):
        calm.append(p99(await measure()))
        async with disturbance():
            disturbed.append(p99(await measure()))
    allowed_s = max(RATIO_MAX * median(calm), median(calm) + FLOOR_S)
    assert median(disturbed) <= allowed_s, (calm, disturbed)


def p99(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]
