"""How late the event loop is: the first sign that something blocks it."""

import asyncio

from fieldstation.domains.system.service import StationState

INTERVAL_S = 0.1
DECAY = 0.9


async def watch_loop(state: StationState) -> None:
    """Keep ``loop_lag_ms`` at the worst lateness of the loop, fading by a tenth each look."""
    clock = state.clock
    while True:
        due = clock.monotonic() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        late_ms = max(clock.monotonic() - due, 0.0) * 1000
        state.loop_lag_ms = max(late_ms, state.loop_lag_ms * DECAY)
